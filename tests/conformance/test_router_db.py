"""One suite over every database backend: what ``router.db.protocol`` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cove.exception import AlreadyExistsError
from cove.types import AppId, EndReason, ImageId, NodeId, SandboxId, TaskId, new_id
from router.db.protocol import Database, SandboxIdTaken
from router.db.records import (
    AppRecord,
    Capacity,
    Claim,
    ImageRecord,
    LayerRecord,
    NodeRecord,
    Observed,
    SandboxQuery,
    SandboxRecord,
    SandboxState,
    TerminalRecord,
    TokenRecord,
)
from router.db.sqlite.database import open_sqlite

A, B = NodeId("a"), NodeId("b")
RUNNING = Observed(SandboxState.RUNNING, started_at=1.5, expires_at=301.5)
STOPPED = Observed(SandboxState.STOPPED, 1.5, 301.5, 0, EndReason.FAILURE, -3, "it ended – ünïcode", 9.25)


@pytest.fixture(params=["sqlite"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_sqlite(tmp_path / "router.db") as opened:
        await opened.apps.ensure(AppRecord(AppId("ap-1"), "ws", "env", "app", 1.0))
        await opened.apps.ensure(AppRecord(AppId("ap-2"), "ws", "env", "other", 1.0))
        yield opened


def sandbox(number: int = 1, **changes: Any) -> SandboxRecord:
    fields: dict[str, Any] = {
        "sandbox_id": SandboxId(f"sb-{number:022}"),
        "task_id": TaskId(new_id("ta")),
        "workspace": "ws",
        "environment": "env",
        "app_id": AppId("ap-1"),
        "name": "",
        "created_at": float(number),
        "node_id": A,
    }
    return SandboxRecord(**{**fields, **changes})


def claim(record: SandboxRecord, key: str = "", request_hash: bytes = b"h") -> Claim:
    return Claim(record.workspace, key or record.sandbox_id, request_hash, record.sandbox_id, record.created_at)


async def add(db: Database, record: SandboxRecord) -> SandboxRecord:
    made = claim(record)
    assert await db.sandboxes.reserve(record, made) == made
    return record


async def end(db: Database, record: SandboxRecord, seen: Observed = STOPPED) -> None:
    assert await db.sandboxes.observe(record.node_id, {record.sandbox_id: seen}) == {record.sandbox_id}


async def test_a_sandbox_comes_back_as_it_was_stored(db: Database) -> None:
    record = await add(db, sandbox(name="n", tags={"a": "", "ключ": "знач'); DROP TABLE tokens;--"}, terminate_asked_at=3.25))
    assert await db.sandboxes.get(record.sandbox_id) == record
    await end(db, record)
    assert await db.sandboxes.get(record.sandbox_id) == msgspec.structs.replace(record, observed=STOPPED)
    assert await db.sandboxes.get(SandboxId("sb-none")) is None


async def test_a_key_is_claimed_once_and_the_loser_leaves_no_sandbox(db: Database) -> None:
    first, second = sandbox(1), sandbox(2)
    assert await db.sandboxes.reserve(first, claim(first, "k")) == claim(first, "k")
    assert await db.sandboxes.reserve(second, claim(second, "k", b"other")) == claim(first, "k")
    assert await db.sandboxes.get(second.sandbox_id) is None
    assert await db.idempotency.get("ws", "k") == claim(first, "k")
    elsewhere = sandbox(3, workspace="ws2")
    assert await db.sandboxes.reserve(elsewhere, claim(elsewhere, "k")) == claim(elsewhere, "k")


async def test_an_id_is_taken_for_ever_and_who_comes_second_leaves_nothing(db: Database) -> None:
    first = await add(db, sandbox(1, name="n", tags={"a": "b"}))
    await end(db, first)
    second = sandbox(1, name="other", app_id=AppId("ap-2"), workspace="ws2")
    with pytest.raises(SandboxIdTaken):
        await db.sandboxes.reserve(second, claim(second, "k2"))
    assert await db.idempotency.get("ws2", "k2") is None
    assert await db.sandboxes.get(first.sandbox_id) == msgspec.structs.replace(first, observed=STOPPED)


async def test_names_are_unique_among_what_has_not_stopped_in_one_app(db: Database) -> None:
    first = await add(db, sandbox(1, name="n"))
    with pytest.raises(AlreadyExistsError):
        await add(db, sandbox(2, name="n"))
    assert await db.idempotency.get("ws", sandbox(2).sandbox_id) is None
    assert await db.sandboxes.get(sandbox(2).sandbox_id) is None
    await add(db, sandbox(3, name="n", app_id=AppId("ap-2")))
    await add(db, sandbox(4))
    await add(db, sandbox(5))
    for seen in (RUNNING, Observed(SandboxState.STOPPING, reason=EndReason.TIMEOUT)):
        await end(db, first, seen)
        with pytest.raises(AlreadyExistsError):
            await add(db, sandbox(2, name="n"))
    assert await db.sandboxes.find_live(AppId("ap-1"), "n") is None
    await end(db, first)
    second = await add(db, sandbox(2, name="n"))
    assert await db.sandboxes.find_live(AppId("ap-1"), "n") == second
    assert await db.sandboxes.find_live(AppId("ap-1"), "") is None


async def test_of_fifty_at_once_one_gets_the_name_and_the_others_are_unharmed(db: Database) -> None:
    """They share transactions; the losers' rollbacks must not take the winner, or the unnamed, with them."""
    named = [sandbox(item, name="n") for item in range(50)]
    unnamed = [sandbox(100 + item) for item in range(50)]
    everyone = [record for pair in zip(named, unnamed, strict=True) for record in pair]
    results = await asyncio.gather(*(db.sandboxes.reserve(record, claim(record)) for record in everyone), return_exceptions=True)
    assert sum(isinstance(result, Claim) for result in results[0::2]) == 1
    assert all(isinstance(result, Claim) for result in results[1::2])
    assert len(await db.sandboxes.unstopped_on(A)) == 51


async def test_states_only_grow_and_only_the_home_is_heard(db: Database) -> None:
    record = await add(db, sandbox())
    seen_by = db.sandboxes.observe
    assert await seen_by(B, {record.sandbox_id: RUNNING}) == frozenset()
    assert await seen_by(A, {record.sandbox_id: RUNNING, SandboxId("sb-unknown"): RUNNING}) == {record.sandbox_id}
    assert await seen_by(A, {record.sandbox_id: RUNNING}) == frozenset()
    assert await seen_by(A, {record.sandbox_id: Observed(SandboxState.PENDING)}) == frozenset()
    idle = msgspec.structs.replace(RUNNING, idle_since=5.0)
    assert await seen_by(A, {record.sandbox_id: idle}) == {record.sandbox_id}
    await end(db, record)
    assert await seen_by(A, {record.sandbox_id: msgspec.structs.replace(STOPPED, exit_code=0)}) == frozenset()
    found = await db.sandboxes.get(record.sandbox_id)
    assert found is not None and found.observed == STOPPED


async def test_a_pending_sandbox_moves_and_can_be_discarded_with_its_key(db: Database) -> None:
    record = await add(db, sandbox(name="n", tags={"a": "b"}))
    assert not await db.sandboxes.move(record.sandbox_id, source=B, target=A)
    assert await db.sandboxes.move(record.sandbox_id, source=A, target=B)
    assert [found.sandbox_id for found in await db.sandboxes.unstopped_on(B)] == [record.sandbox_id]
    assert await db.sandboxes.discard(record.sandbox_id)
    assert not await db.sandboxes.discard(record.sandbox_id)
    assert await db.idempotency.get("ws", record.sandbox_id) is None
    again = await add(db, sandbox(name="n"))
    assert (await db.sandboxes.get(again.sandbox_id)) == again  # without the first one's tags
    await end(db, again, RUNNING)
    assert not await db.sandboxes.move(again.sandbox_id, source=A, target=B)
    assert not await db.sandboxes.discard(again.sandbox_id)


async def test_lists_are_newest_first_and_page_without_gaps_even_among_equals(db: Database) -> None:
    for number in range(10):
        await add(
            db, sandbox(number, created_at=float(number // 4), app_id=AppId("ap-1" if number % 2 else "ap-2"), tags={"n": str(number % 3)})
        )
    query = SandboxQuery(workspace="ws", environment="env", limit=3)
    seen: list[SandboxRecord] = []
    while page := await db.sandboxes.list_(query):
        seen += page
        query = msgspec.structs.replace(query, after=(page[-1].created_at, page[-1].sandbox_id))
    assert [record.sandbox_id for record in seen] == [sandbox(number).sandbox_id for number in range(9, -1, -1)]

    query = SandboxQuery(workspace="ws", environment="env", app_id=AppId("ap-1"), tags={"n": "0"})
    assert [record.created_at for record in await db.sandboxes.list_(query)] == [2.0, 0.0]
    for other in ({"workspace": "x"}, {"environment": "x"}, {"tags": {"n": "0", "m": "0"}}, {"tags": {"n": "%"}}):
        assert await db.sandboxes.list_(msgspec.structs.replace(query, **other)) == []


async def test_stopping_and_stopped_are_listed_on_request_only(db: Database) -> None:
    records = [await add(db, sandbox(number)) for number in range(3)]
    await end(db, records[1], Observed(SandboxState.STOPPING, reason=EndReason.TERMINATED))
    await end(db, records[2])
    query = SandboxQuery(workspace="ws", environment="env")
    assert [record.sandbox_id for record in await db.sandboxes.list_(query)] == [records[0].sandbox_id]
    assert len(await db.sandboxes.list_(msgspec.structs.replace(query, include_stopped=True))) == 3


async def test_many_tagged_sandboxes_are_read_with_their_tags(db: Database) -> None:
    await asyncio.gather(*(add(db, sandbox(number, tags={"n": str(number)})) for number in range(1200)))
    found = await db.sandboxes.unstopped_on(A)
    assert {record.sandbox_id: dict(record.tags) for record in found} == {sandbox(n).sandbox_id: {"n": str(n)} for n in range(1200)}


async def test_tags_are_replaced_as_a_whole(db: Database) -> None:
    record = await add(db, sandbox(tags={"a": "1", "b": "2"}))
    await db.sandboxes.replace_tags(record.sandbox_id, {"b": "3"})
    found = await db.sandboxes.get(record.sandbox_id)
    assert found is not None and found.tags == {"b": "3"}


async def test_the_intent_to_terminate_is_kept_until_it_is_done(db: Database) -> None:
    records = [await add(db, sandbox(number)) for number in range(3)]
    for at, record in ((7.0, records[1]), (6.0, records[0]), (9.0, records[1])):
        await db.sandboxes.ask_terminate(record.sandbox_id, at)
    found = await db.sandboxes.terminating(10)
    assert [(record.sandbox_id, record.terminate_asked_at) for record in found] == [
        (records[0].sandbox_id, 6.0),
        (records[1].sandbox_id, 7.0),
    ]
    assert len(await db.sandboxes.terminating(1)) == 1
    await end(db, records[0])
    await db.sandboxes.ask_terminate(records[0].sandbox_id, 8.0)
    assert [record.sandbox_id for record in await db.sandboxes.terminating(10)] == [records[1].sandbox_id]
    assert await db.sandboxes.count_unstopped() == {A: 2}


async def test_purging_takes_the_oldest_ended_with_tags_and_keys(db: Database) -> None:
    for number in range(4):
        record = await add(db, sandbox(number, tags={"a": "b"}))
        if number < 3:
            await end(db, record, msgspec.structs.replace(STOPPED, ended_at=float(number)))
    assert await db.sandboxes.purge(2.0, 1) == 1
    assert await db.sandboxes.get(sandbox(0).sandbox_id) is None
    assert await db.idempotency.get("ws", sandbox(0).sandbox_id) is None
    assert await db.sandboxes.purge(2.0, 10) == 1
    assert await db.sandboxes.purge(2.0, 10) == 0
    assert len(await db.sandboxes.list_(SandboxQuery(workspace="ws", environment="env", include_stopped=True))) == 2
    assert await db.idempotency.purge(3.0, 10) == 1
    assert await db.idempotency.get("ws", sandbox(3).sandbox_id) is not None


async def test_apps_are_made_once_per_workspace_and_environment(db: Database) -> None:
    apps = [AppRecord(AppId(new_id("ap")), "ws", "env", "new", float(item)) for item in range(20)]
    made = await asyncio.gather(*map(db.apps.ensure, apps))
    assert len(set(made)) == 1 and made[0] in apps
    assert await db.apps.find("ws", "env", "new") == made[0] == await db.apps.get(made[0].app_id)
    elsewhere = AppRecord(AppId(new_id("ap")), "ws", "env2", "new", 1.0)
    assert await db.apps.ensure(elsewhere) == elsewhere
    assert await db.apps.find("ws2", "env", "new") is None and await db.apps.get(AppId("ap-none")) is None


async def test_tokens(db: Database) -> None:
    assert not await db.tokens.any_active()
    tokens = [TokenRecord(f"ak-{item}", "ws" if item < 2 else "ws2", "n", b"\0hash", float(item)) for item in range(3)]
    for token in tokens:
        await db.tokens.add(token)
    assert await db.tokens.list_("ws") == tokens[:2] and await db.tokens.get("ak-2") == tokens[2]
    await db.tokens.touch({"ak-0": 9.0, "ak-1": 5.0, "ak-none": 1.0})
    await db.tokens.touch({"ak-0": 8.0})
    assert [token.last_used_at for token in await db.tokens.list_("ws")] == [9.0, 5.0]
    assert not await db.tokens.revoke("ws", "ak-2", 4.0)
    assert await db.tokens.revoke("ws", "ak-0", 4.0) and await db.tokens.revoke("ws", "ak-0", 7.0)
    revoked = await db.tokens.get("ak-0")
    assert revoked is not None and revoked.revoked_at == 4.0
    assert await db.tokens.any_active()
    for workspace, token_id in (("ws", "ak-1"), ("ws2", "ak-2")):
        await db.tokens.revoke(workspace, token_id, 5.0)
    assert not await db.tokens.any_active()


async def test_nodes(db: Database) -> None:
    node = NodeRecord(
        node_id=A,
        grpc_address="h:1",
        http_url="http://h:2",
        capacity=Capacity(64_000, 2**45),
        version="1",
        runsc_version="2",
        runsc_builds=("2-0123456789abcdef", "1-0123456789abcdef"),
        debian_pythons=("3.11", "3.12"),
        proxies=("exit", "other"),
        session_hash=b"\0s",
        registered_at=1.0,
        last_seen_at=2.0,
    )
    other = msgspec.structs.replace(node, node_id=B, debian_pythons=(), proxies=())
    await db.nodes.put(other)
    await db.nodes.put(node)
    assert await db.nodes.list_() == [node, other]
    await db.nodes.seen(A, 5.0, reserved=Capacity(1, 2), draining=True)
    await db.nodes.seen(A, 4.0, reserved=Capacity(3, 4), draining=True)
    await db.nodes.seen(NodeId("unknown"), 4.0, reserved=Capacity(), draining=False)
    seen = (await db.nodes.list_())[0]
    assert seen == msgspec.structs.replace(node, last_seen_at=5.0, reserved=Capacity(3, 4), draining=True)
    await db.nodes.put(node)
    assert (await db.nodes.list_())[0] == node


def layer(number: int, **changes: Any) -> LayerRecord:
    fields: dict[str, Any] = {"layer_id": f"ly-{number}", "source": "build", "node_id": A, "created_at": float(number)}
    return LayerRecord(**{**fields, **changes})


def image(number: int, *layers: LayerRecord, **changes: Any) -> ImageRecord:
    fields: dict[str, Any] = {
        "image_id": ImageId(f"im-{number}"),
        "workspace": "ws",
        "source": "build",
        "description": "ünï; DROP TABLE images",
        "created_at": float(number),
        "layers": layers,
    }
    return ImageRecord(**{**fields, **changes})


async def test_an_image_comes_back_with_its_layers_in_order(db: Database) -> None:
    stored = layer(9, digest="sha256:9", diff_id="sha256:d", size_bytes=2**40, source="registry", node_id=NodeId(""))
    made = image(1, layer(3), stored, layer(1), base="debian:3.11", config=b"\0\xff", parent_image_id="im-0", sandbox_id="sb-1")
    assert await db.images.add(made, b"\0key\xff") == made
    assert await db.images.get("im-1") == await db.images.find("ws", b"\0key\xff") == made
    assert await db.images.find("ws2", b"\0key\xff") is None and await db.images.find("ws", b"\0key") is None
    assert await db.images.get("im-none") is None


async def test_a_key_names_the_first_image_until_it_is_replaced(db: Database) -> None:
    first, second, third = image(1, layer(1)), image(2, layer(2)), image(3, layer(3))
    await db.images.add(first, b"k")
    assert await db.images.add(second, b"k") == first
    assert await db.images.get("im-2") is None and not await db.images.has_layer("ly-2")
    assert await db.images.add(third, b"k", replace=True) == third == await db.images.find("ws", b"k")
    assert await db.images.get("im-1") == first
    assert [found.image_id for found in await db.images.keyless("ws", 10.0)] == ["im-1"]
    elsewhere = image(4, layer(1), workspace="ws2")
    assert await db.images.add(elsewhere, b"k") == elsewhere
    assert await db.images.find("ws", b"k") == third


async def test_without_a_key_each_image_is_its_own(db: Database) -> None:
    for number in (1, 2):
        assert await db.images.add(image(number, layer(1))) == image(number, layer(1))
    assert await db.images.find("ws", b"") is None
    assert [found.image_id for found in await db.images.keyless("ws", 2.0)] == ["im-1"]
    assert len(await db.images.keyless("ws", 3.0)) == 2 and not await db.images.keyless("ws2", 3.0)


async def test_of_fifty_at_once_one_gets_the_key_and_the_others_leave_nothing(db: Database) -> None:
    made = [image(number, layer(number), layer(100)) for number in range(50)]
    told = await asyncio.gather(*(db.images.add(record, b"k") for record in made))
    assert len({record.image_id for record in told}) == 1
    assert await db.images.list_("ws", after=None, limit=100) == [told[0]]
    assert {found.layer_id for found in await db.images.unstored_layers(100)} == {found.layer_id for found in told[0].layers}


async def test_what_is_known_of_a_layer_outlives_who_brings_it_again(db: Database) -> None:
    await db.images.add(image(1, layer(1)))
    await db.images.layer_stored("ly-1", digest="sha256:1", diff_id="sha256:d", size_bytes=7)
    await db.images.layer_stored("ly-none", digest="sha256:2", diff_id="", size_bytes=7)
    await db.images.add(image(2, layer(1, digest="", node_id=B), layer(2)))
    found = await db.images.get("im-2")
    assert found is not None
    assert found.layers == (layer(1, digest="sha256:1", diff_id="sha256:d", size_bytes=7), layer(2)) and not found.is_stored
    assert await db.images.digests() == {"sha256:1"}
    assert await db.images.unstored_layers(10) == [layer(2)]


async def test_deleting_takes_keys_but_leaves_layers_until_they_are_forgotten(db: Database) -> None:
    await db.images.add(image(1, layer(1), layer(2)), b"k")
    await db.images.add(image(2, layer(2), layer(3)), b"l")
    assert not await db.images.forget_layer("ly-1")
    assert await db.images.delete("im-1") and not await db.images.delete("im-1")
    assert await db.images.find("ws", b"k") is None
    assert await db.images.unused_layers(1.0, 10) == []
    assert await db.images.unused_layers(5.0, 10) == [layer(1)]
    assert {found.layer_id for found in await db.images.unstored_layers(10)} == {"ly-2", "ly-3"}
    assert not await db.images.forget_layer("ly-2")
    assert await db.images.forget_layer("ly-1") and not await db.images.forget_layer("ly-1")
    assert not await db.images.has_layer("ly-1") and await db.images.has_layer("ly-2")
    assert await db.images.get("im-2") == image(2, layer(2), layer(3))
    assert await db.images.add(image(5, layer(5)), b"k") == image(5, layer(5))


async def test_layers_without_images_come_oldest_first_and_no_more_than_asked_for(db: Database) -> None:
    for number in (3, 1, 2):
        await db.images.add(image(number, layer(number)))
    assert [found.layer_id for found in await db.images.unstored_layers(2)] == ["ly-1", "ly-2"]
    for number in (3, 1, 2):
        await db.images.delete(f"im-{number}")
    assert [found.layer_id for found in await db.images.unused_layers(10.0, 2)] == ["ly-1", "ly-2"]
    assert await db.images.unstored_layers(10) == []


async def test_images_page_newest_first_without_gaps_even_among_equals(db: Database) -> None:
    for number in range(10):
        await db.images.add(image(number, layer(number), created_at=float(number // 4)))
    await db.images.add(image(99, workspace="ws2"))
    seen: list[ImageRecord] = []
    after: tuple[float, str] | None = None
    while page := await db.images.list_("ws", after=after, limit=3):
        seen += page
        after = (page[-1].created_at, page[-1].image_id)
    assert [found.image_id for found in seen] == [f"im-{number}" for number in range(9, -1, -1)]


async def test_dropped_keys_name_nothing(db: Database) -> None:
    for number, key in ((1, b"a"), (2, b"b"), (3, b"c")):
        await db.images.add(image(number), key)
    await db.images.add(image(4, workspace="ws2"), b"a")
    await db.images.drop_keys("ws", [b"a", b"c", b"none"])
    assert [await db.images.find("ws", key) for key in (b"a", b"b", b"c")] == [None, image(2), None]
    assert await db.images.find("ws2", b"a") == image(4, workspace="ws2")
    await db.images.drop_keys("ws", [])
    assert {found.image_id for found in await db.images.keyless("ws", 9.0)} == {"im-1", "im-3"}


async def test_an_image_is_used_by_sandboxes_that_have_not_stopped(db: Database) -> None:
    await db.images.add(image(1))
    records = [await add(db, sandbox(number, image="im-1")) for number in range(3)]
    await add(db, sandbox(9, image="debian:3.11"))
    assert await db.images.used_by("im-1") == 3
    await end(db, records[0], Observed(SandboxState.STOPPING, reason=EndReason.TIMEOUT))
    assert await db.images.used_by("im-1") == 3
    await end(db, records[0])
    assert await db.images.used_by("im-1") == 2
    assert await db.images.used_by("debian:3.11") == 1 and await db.images.used_by("im-none") == 0
    assert not await db.images.delete("im-1") and await db.images.get("im-1") is not None


def terminal(number: int = 1, **changes: Any) -> TerminalRecord:
    fields: dict[str, Any] = {
        "terminal_id": f"te-{number}",
        "sandbox_id": SandboxId("sb-1"),
        "token_id": "ak-1",
        "exec_id": f"ex-{number}",
        "request": b"\x00request",
        "ticket_hash": b"ticket",
        "ticket_expires_at": 100.0,
        "created_at": 1.0,
        "expires_at": 1000.0,
    }
    return TerminalRecord(**{**fields, **changes})


async def test_a_terminal_comes_back_as_it_was_stored(db: Database) -> None:
    await db.terminals.add(terminal())
    await db.terminals.add(terminal(2, sandbox_id=SandboxId("sb-2")))
    assert await db.terminals.get("te-1") == terminal()
    assert await db.terminals.get("te-3") is None
    assert await db.terminals.count(SandboxId("sb-1")) == 1
    await db.terminals.delete("te-1")
    await db.terminals.delete("te-1")
    assert (await db.terminals.get("te-1"), await db.terminals.count(SandboxId("sb-1"))) == (None, 0)


async def test_a_ticket_is_redeemed_once_and_in_time(db: Database) -> None:
    await db.terminals.add(terminal())
    assert not await db.terminals.redeem("te-1", b"other", b"session", 50.0)
    assert not await db.terminals.redeem("te-2", b"ticket", b"session", 50.0)
    assert not await db.terminals.redeem("te-1", b"ticket", b"session", 100.0)
    results = await asyncio.gather(*(db.terminals.redeem("te-1", b"ticket", b"s%d" % number, 99.0) for number in range(10)))
    assert sum(results) == 1
    found = await db.terminals.get("te-1")
    assert found == terminal(ticket_hash=b"", session_hash=b"s%d" % results.index(True), used_at=99.0)
    assert not await db.terminals.redeem("te-1", b"", b"again", 99.0)


async def test_times_of_a_terminal_only_grow_and_it_starts_once(db: Database) -> None:
    await db.terminals.add(terminal(used_at=5.0))
    await db.terminals.touch({"te-1": 4.0, "te-none": 9.0})
    await db.terminals.started("te-1", 7.0)
    await db.terminals.started("te-1", 8.0)
    assert await db.terminals.get("te-1") == terminal(used_at=5.0, started_at=7.0)
    await db.terminals.touch({"te-1": 6.0})
    assert await db.terminals.get("te-1") == terminal(used_at=6.0, started_at=7.0)


@pytest.mark.parametrize(
    ("changes", "is_over"),
    [
        ({}, False),
        ({"ticket_expires_at": 50.0}, True),  # nobody came
        ({"ticket_hash": b"", "session_hash": b"s", "ticket_expires_at": 50.0, "used_at": 41.0}, False),
        ({"ticket_hash": b"", "session_hash": b"s", "used_at": 40.0}, True),
        ({"ticket_hash": b"", "session_hash": b"s", "used_at": 41.0, "expires_at": 50.0}, True),
        ({"token_id": "ak-2"}, True),  # revoked
        ({"token_id": "ak-3"}, True),  # not there
    ],
)
async def test_terminals_whose_time_has_come(db: Database, changes: dict[str, Any], is_over: bool) -> None:
    await db.tokens.add(TokenRecord("ak-1", "ws", "", b"", 1.0))
    await db.tokens.add(TokenRecord("ak-2", "ws", "", b"", 1.0, revoked_at=2.0))
    await db.terminals.add(terminal(**changes))
    assert [one.terminal_id for one in await db.terminals.over(50.0, used_before=40.0, limit=10)] == ["te-1"] * is_over
    assert await db.terminals.over(50.0, used_before=40.0, limit=0) == []

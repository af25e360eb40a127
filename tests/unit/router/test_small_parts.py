"""Failure limiter, wake-ups, secret files, finisher, settings: one promise each."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from cove.exception import InvalidError
from cove.types import SandboxId
from cove.wire import control_pb2
from router.changes import Changes
from router.failures import BURST, MAX_PEERS, FailureLimiter
from router.grpc_edge import service
from router.metrics import Metrics
from router.secret_files import read_or_create, write
from router.settings import RouterSettings, load
from router.tasks import Finisher

ID = SandboxId("sb-1")


def test_failures_run_out_and_come_back_with_time() -> None:
    now = [0.0]
    limiter = FailureLimiter(lambda: now[0])
    assert [limiter.allows("a") for _ in range(int(BURST) + 2)] == [True] * int(BURST) + [False] * 2
    assert limiter.allows("b")
    now[0] += 2.1
    assert [limiter.allows("a"), limiter.allows("a")] == [True, False]


def test_a_flood_of_peers_takes_no_memory_without_end() -> None:
    limiter = FailureLimiter(lambda: 0.0)
    for peer in range(MAX_PEERS + 100):
        limiter.allows(str(peer))
    assert len(limiter._buckets) == MAX_PEERS


async def test_wake_ups_reach_all_who_watch_and_leave_nothing_behind() -> None:
    changes = Changes()
    with changes.watch(ID) as first, changes.watch(ID) as second, changes.watch(SandboxId("sb-2")) as other:
        changes.wake([ID, SandboxId("sb-3")])
        assert (first.is_set(), second.is_set(), other.is_set()) == (True, True, False)
        changes.close()
        assert other.is_set() and changes.closing
    assert not changes._watchers


def test_a_secret_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    old = os.umask(0)
    try:
        assert read_or_create(path, lambda: b"one") == b"one"
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_create(path, lambda: b"two") == b"one"
    write(path, b"three")
    assert read_or_create(path, lambda: b"two") == b"three"
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_secret_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(InvalidError, match="chmod 600"):
        read_or_create(path, lambda: b"y")


def test_who_makes_a_secret_at_the_same_time_gets_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secret"

    def make() -> bytes:
        # The other one makes its file between our look and our write.
        write(path, b"theirs")
        return b"ours"

    assert read_or_create(path, make) == b"theirs" == path.read_bytes()


async def test_work_is_finished_though_its_caller_is_gone() -> None:
    go, done = asyncio.Event(), list[str]()

    async def work() -> str:
        await go.wait()
        done.append("x")
        return "result"

    async with Finisher() as finisher:
        caller = asyncio.create_task(finisher.finish(work()))
        staying = asyncio.create_task(finisher.finish(work()))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        go.set()
    assert caller.cancelled() and done == ["x", "x"] and await staying == "result"


async def test_an_error_belongs_to_the_caller_and_harms_nobody_else() -> None:
    async def work() -> None:
        raise LookupError("mine")

    async with Finisher() as finisher:
        abandoned = asyncio.create_task(finisher.finish(work()))
        await asyncio.sleep(0)
        abandoned.cancel()
        with pytest.raises(LookupError):
            await finisher.finish(work())


@pytest.mark.parametrize(
    "environ",
    [
        {"COVE_ROUTER_GRPC_ADDRES": "x:1"},
        {"COVE_ROUTER_GRPC_ADDRESS": "nonsense"},
        {"COVE_ROUTER_ACCESS_LIFETIME_S": "0"},
        {"COVE_ROUTER_CREATE_GRACE_S": "5"},
        {"COVE_ROUTER_NODE_LOST_AFTER_S": "3"},
        {"COVE_ROUTER_NODE_UNREACHABLE_AFTER_S": "1"},
        {"COVE_ROUTER_DATA_PLANE": "sideways"},
        {"COVE_ROUTER_WORKSPACE": "a b"},
        {"COVE_ROUTER_DATA_PLANE": "proxy", "COVE_ROUTER_GRPC_ADDRESS": "0.0.0.0:7700"},
        {"COVE_ROUTER_DATA_PLANE": "proxy", "COVE_ROUTER_HTTP_ADDRESS": "[::]:7701"},
    ],
)
def test_settings_that_cannot_work_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidError):
        load(environ=environ)


def test_every_setting_says_what_it_means() -> None:
    source = Path(__file__).parents[3] / "router/settings.py"
    lines = source.read_text().splitlines()
    for field in RouterSettings.__struct_fields__:
        position = next(number for number, line in enumerate(lines) if line.startswith(f"    {field}:"))
        assert lines[position + 1].startswith('    """'), field


def test_a_service_must_be_implemented_whole() -> None:
    descriptor = control_pb2.DESCRIPTOR.services_by_name["Control"]

    async def authenticate(method: str, metadata: object, peer: str) -> None:
        return None

    with pytest.raises(ValueError, match="Hello"):
        service(descriptor, {}, authenticate, Metrics())

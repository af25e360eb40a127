"""Links open once, sessions end in time, and the database cannot open anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cove.exception import AuthError, ConflictError, InvalidError, ResourceExhaustedError
from cove.types import AppId, NodeId, SandboxId, TaskId, new_id
from cove.wire import control_pb2
from router.auth import Caller, Hasher
from router.db.records import Observed, SandboxRecord, SandboxState, TokenRecord
from router.db.sqlite.database import SqliteDatabase, open_sqlite
from router.terminal.tickets import MAX_PER_SANDBOX, TICKET_LIFETIME_S, Terminals

IDLE_S, LIFETIME_S = 600.0, 3000.0
CALLER = Caller("ak-1", "ws")
SANDBOX = SandboxRecord(
    sandbox_id=SandboxId(f"sb-{'0' * 22}"),
    task_id=TaskId("ta-1"),
    workspace="ws",
    environment="main",
    app_id=AppId("ap-1"),
    name="",
    created_at=0.0,
    node_id=NodeId("node"),
)


class World:
    """A database with one API token, and time that moves when told to."""

    def __init__(self, db: SqliteDatabase) -> None:
        self.db, self.now = db, 1000.0
        self.terminals = Terminals(db, Hasher(b"pepper"), idle_s=IDLE_S, lifetime_s=LIFETIME_S, clock=lambda: self.now)

    async def create(self, **fields: Any) -> tuple[str, str]:
        """A terminal's id and its one-time token."""
        record, ticket = await self.terminals.create(CALLER, SANDBOX, control_pb2.TerminalCreateRequest(**fields))
        return record.terminal_id, ticket

    async def session(self) -> tuple[str, str]:
        """The id of a terminal that was opened, and the secret of its session."""
        terminal_id, ticket = await self.create()
        return terminal_id, (await self.terminals.redeem(terminal_id, ticket, peer="p"))[1]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_sqlite(tmp_path / "router.db") as db:
        await db.tokens.add(TokenRecord("ak-1", "ws", "", b"", 0.0))
        yield World(db)


async def test_a_ticket_opens_once(world: World) -> None:
    terminal_id, ticket = await world.create()
    record, secret = await world.terminals.redeem(terminal_id, ticket, peer="p")
    assert await world.terminals.authorise(terminal_id, secret) == record
    with pytest.raises(AuthError):
        await world.terminals.redeem(terminal_id, ticket, peer="p")
    assert await world.terminals.authorise(terminal_id, secret) == record


async def test_of_many_at_once_one_gets_in(world: World) -> None:
    terminal_id, ticket = await world.create()
    tries = (world.terminals.redeem(terminal_id, ticket, peer="p") for _ in range(20))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert all(isinstance(result, AuthError | tuple) for result in results)


async def test_tickets_and_secrets_open_their_own_terminal_only(world: World) -> None:
    first, first_ticket = await world.create()
    second, second_ticket = await world.create()
    with pytest.raises(AuthError):
        await world.terminals.redeem(first, second_ticket, peer="p")
    _, secret = await world.terminals.redeem(first, first_ticket, peer="p")
    await world.terminals.redeem(second, second_ticket, peer="p")
    for wrong in (secret, "", first_ticket, new_id("ts")):
        with pytest.raises(AuthError):
            await world.terminals.authorise(second, wrong)


@pytest.mark.parametrize("ticket", ["", "tt-", "x", "tt-" + "0" * 22, "tt-" + "0" * 10_000, "tt-ß" + "0" * 21, "%s", "\0"])
async def test_garbage_opens_nothing(world: World, ticket: str) -> None:
    terminal_id, _ = await world.create()
    with pytest.raises(AuthError):
        await world.terminals.redeem(terminal_id, ticket, peer="p")
    with pytest.raises(AuthError):
        await world.terminals.authorise(terminal_id, ticket)
    with pytest.raises(AuthError):
        await world.terminals.authorise(ticket, ticket)


async def test_nothing_opens_before_the_link_was_used(world: World) -> None:
    """The empty hash of a session that is not there matches no secret."""
    terminal_id, ticket = await world.create()
    for secret in ("", ticket, "ts-" + "0" * 22):
        with pytest.raises(AuthError):
            await world.terminals.authorise(terminal_id, secret)


async def test_a_ticket_is_good_for_two_minutes(world: World) -> None:
    terminal_id, ticket = await world.create()
    world.now += TICKET_LIFETIME_S
    assert [record.terminal_id for record in await world.terminals.over(10)] == [terminal_id]
    with pytest.raises(AuthError):
        await world.terminals.redeem(terminal_id, ticket, peer="p")


async def test_guessing_is_slowed_and_valid_tickets_still_pass(world: World) -> None:
    terminal_id, ticket = await world.create()
    with pytest.raises(ResourceExhaustedError):
        for _ in range(100):
            with pytest.raises(AuthError):
                await world.terminals.redeem(terminal_id, new_id("tt"), peer="p")
    await world.terminals.redeem(terminal_id, ticket, peer="p")


async def test_an_unused_session_ends(world: World) -> None:
    terminal_id, secret = await world.session()
    world.now += IDLE_S - 1
    await world.db.terminals.touch({terminal_id: world.now})
    world.now += IDLE_S - 1
    assert await world.terminals.over(10) == []
    await world.terminals.authorise(terminal_id, secret)
    world.now += 1
    assert len(await world.terminals.over(10)) == 1
    with pytest.raises(AuthError):
        await world.terminals.authorise(terminal_id, secret)


async def test_a_session_ends_in_any_case(world: World) -> None:
    terminal_id, secret = await world.session()
    world.now += LIFETIME_S
    await world.db.terminals.touch({terminal_id: world.now})
    assert len(await world.terminals.over(10)) == 1
    with pytest.raises(AuthError):
        await world.terminals.authorise(terminal_id, secret)


async def test_a_session_ends_with_its_api_token(world: World) -> None:
    terminal_id, secret = await world.session()
    assert await world.terminals.over(10) == []
    await world.db.tokens.revoke("ws", "ak-1", world.now)
    assert len(await world.terminals.over(10)) == 1
    with pytest.raises(AuthError):
        await world.terminals.authorise(terminal_id, secret)


async def test_the_database_holds_no_secret(world: World, tmp_path: Path) -> None:
    terminal_id, ticket = await world.create()
    _, secret = await world.terminals.redeem(terminal_id, ticket, peer="p")
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert terminal_id.encode() in stored
    assert ticket.encode() not in stored and secret.encode() not in stored


@pytest.mark.parametrize("state", [SandboxState.STOPPING, SandboxState.STOPPED])
async def test_a_sandbox_that_has_ended_gets_no_terminal(world: World, state: SandboxState) -> None:
    ended = msgspec.structs.replace(SANDBOX, observed=Observed(state))
    with pytest.raises(ConflictError) as caught:
        await world.terminals.create(CALLER, ended, control_pb2.TerminalCreateRequest())
    assert caught.value.code == "sandbox_ended"


@pytest.mark.parametrize("fields", [{"argv": [b""]}, {"argv": [b"a\0b"]}, {"workdir": "relative"}, {"user": "x" * 300}, {"user": "a\0"}])
async def test_what_cannot_be_started_is_refused_at_once(world: World, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        await world.create(**fields)


async def test_a_sandbox_has_so_many_terminals(world: World) -> None:
    for _ in range(MAX_PER_SANDBOX):
        await world.create()
    with pytest.raises(ResourceExhaustedError):
        await world.create()

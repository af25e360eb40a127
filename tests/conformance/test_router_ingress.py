"""What ``router.db.ingress`` promises, over every backend."""

from __future__ import annotations

import asyncio

import msgspec

from cove.types import SandboxId
from router.db.ingress import ConnectTokenRecord, EntranceKind, EntranceRecord
from router.db.protocol import Database
from tests.conformance.test_router_db import STOPPED, A, claim, db, sandbox

__all__ = ["db"]

ONE, TWO = sandbox(1), sandbox(2)


def entrance(
    name: str, port: int = 80, kind: EntranceKind = EntranceKind.ENCRYPTED, sandbox_id: SandboxId = ONE.sandbox_id
) -> EntranceRecord:
    return EntranceRecord(name=name, sandbox_id=sandbox_id, port=port, kind=kind, created_at=5.0)


def token(token_id: str, sandbox_id: SandboxId = ONE.sandbox_id, at: float = 5.0) -> ConnectTokenRecord:
    return ConnectTokenRecord(token_id=token_id, sandbox_id=sandbox_id, user_metadata='{"ü": 1}', created_at=at, expires_at=at + 10)


async def test_entrances_come_with_their_sandbox_and_go_with_it(db: Database) -> None:
    both = [entrance("b", 81, EntranceKind.H2), entrance("a", 80, EntranceKind.UNENCRYPTED)]
    await db.sandboxes.reserve(ONE, claim(ONE), both)
    assert await db.entrances.of(ONE.sandbox_id) == [both[1], both[0]]
    again = msgspec.structs.replace(claim(TWO), key=claim(ONE).key)
    await db.sandboxes.reserve(TWO, again, [entrance("c", sandbox_id=TWO.sandbox_id)])  # the key is taken: nothing is stored
    assert await db.entrances.of(TWO.sandbox_id) == []
    await db.connect_tokens.add(token("t"))
    assert await db.sandboxes.discard(ONE.sandbox_id)
    assert await db.entrances.live() == [] and await db.connect_tokens.get("t") is None


async def test_a_port_has_one_tunnel_and_one_http_entrance(db: Database) -> None:
    await db.sandboxes.reserve(ONE, claim(ONE))
    first = entrance("a")
    assert await db.entrances.add(first) == first
    assert await db.entrances.add(entrance("b", kind=EntranceKind.H2)) == first
    connect = entrance("c", kind=EntranceKind.CONNECT)
    added = await asyncio.gather(db.entrances.add(connect), db.entrances.add(entrance("d", kind=EntranceKind.CONNECT)))
    assert added[0] == added[1]
    assert len(await db.entrances.of(ONE.sandbox_id)) == 2
    assert await db.entrances.remove("a") and not await db.entrances.remove("a")
    assert await db.entrances.add(entrance("e")) == entrance("e")


async def test_where_an_entrance_is_bound_is_kept(db: Database) -> None:
    await db.sandboxes.reserve(ONE, claim(ONE), [entrance("a")])
    await db.entrances.bound("a", plain_port=4000, tls_port=65_535)
    await db.entrances.bound("absent", plain_port=1, tls_port=1)
    bound = msgspec.structs.replace(entrance("a"), plain_port=4000, tls_port=65_535)
    assert await db.entrances.live() == [bound]
    await db.sandboxes.observe(A, {ONE.sandbox_id: STOPPED})
    assert await db.entrances.live() == [] and await db.entrances.of(ONE.sandbox_id) == [bound]


async def test_connect_tokens_are_stored_once_and_revoked_once(db: Database) -> None:
    await db.sandboxes.reserve(ONE, claim(ONE))
    await db.sandboxes.reserve(TWO, claim(TWO))
    assert await db.connect_tokens.add(token("b", at=6.0)) == token("b", at=6.0)
    assert await db.connect_tokens.add(token("b", at=99.0)) == token("b", at=6.0)
    await db.connect_tokens.add(token("a"))
    await db.connect_tokens.add(token("c", sandbox_id=TWO.sandbox_id))
    assert [one.token_id for one in await db.connect_tokens.list_(ONE.sandbox_id)] == ["a", "b"]
    assert await db.connect_tokens.revoke("a", 7.0) and await db.connect_tokens.revoke("a", 8.0)
    assert not await db.connect_tokens.revoke("absent", 7.0)
    revoked = await db.connect_tokens.get("a")
    assert revoked is not None and revoked.revoked_at == 7.0
    assert await db.connect_tokens.get("absent") is None

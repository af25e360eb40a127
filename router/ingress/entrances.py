"""The entrances of sandboxes: made when asked for, open while their sandbox runs, the same after a restart of the router."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable

import structlog

from cove.exception import ConflictError, Error, ResourceExhaustedError, SandboxTimeoutError
from cove.types import SandboxId
from policies.connect_tokens import PORT
from policies.ports import MAX_PORTS
from router.changes import Changes
from router.db.ingress import EntranceKind, EntranceRecord
from router.db.protocol import Database
from router.db.records import SandboxRecord, SandboxState
from router.ingress.listeners import Listeners

log = structlog.get_logger(__name__)


class Entrances:
    """Which entrances there are; one instance per router.

    Args: break_off: breaks the connections of an entrance, by name.
    """

    def __init__(
        self, db: Database, changes: Changes, listeners: Listeners, break_off: Callable[[str], None], *, clock: Callable[[], float]
    ) -> None:
        self._db, self._changes, self._listeners, self._break_off, self._clock = db, changes, listeners, break_off, clock
        self._by_name: dict[str, EntranceRecord] = {}
        self._by_sandbox: defaultdict[SandboxId, set[str]] = defaultdict(set)
        self._opening = asyncio.Lock()
        self._ended: set[SandboxId] = set()
        self._some_ended = asyncio.Event()
        changes.listen(self._on_change)

    def find(self, name: str) -> EntranceRecord | None:
        """The open entrance of this name."""
        return self._by_name.get(name)

    async def restore(self) -> None:
        """Open the entrances of all sandboxes after a restart. What cannot be is logged; asking for it again tries again."""
        for entrance in await self._db.entrances.live():
            try:
                await self._open(entrance)
            except Error as error:
                log.error("entrance not opened again", sandbox=entrance.sandbox_id, port=entrance.port, cause=error.cause)

    async def run(self) -> None:
        """Close the entrances of sandboxes that end, for ever."""
        while True:
            await self._some_ended.wait()
            self._some_ended.clear()
            ended, self._ended = self._ended, set()
            for sandbox_id in ended:
                record = await self._db.sandboxes.get(sandbox_id)
                if record is None or not record.is_live:
                    for name in self._by_sandbox.pop(sandbox_id, set()):
                        self._close(name)

    def close_all(self) -> None:
        """The router stops; records stay, so that the next one opens them again."""
        self._listeners.close_all()

    async def tunnels(self, record: SandboxRecord, *, timeout_s: float) -> list[EntranceRecord]:
        """The tunnels of a sandbox, open, by port.

        Raises:  SandboxTimeoutError: it does not run in time. ConflictError: it has ended.
        """
        await self._running(record.sandbox_id, timeout_s)
        entrances = await self._db.entrances.of(record.sandbox_id)
        return [await self._open(one) for one in entrances if one.kind is not EntranceKind.CONNECT]

    async def open_tunnel(self, record: SandboxRecord, port: int, kind: EntranceKind, *, timeout_s: float) -> EntranceRecord:
        """A tunnel to one more port; the one that is there, if it is of this kind.

        Raises:
            ConflictError: it is open in another way, or the sandbox has ended. ResourceExhaustedError: there are too many.
            SandboxTimeoutError: the sandbox does not run in time.
        """
        await self._running(record.sandbox_id, timeout_s)
        known = await self._db.entrances.of(record.sandbox_id)
        if len(known) > MAX_PORTS and all(one.port != port for one in known):
            raise ResourceExhaustedError(f"The sandbox has {MAX_PORTS} open ports.", remedy="Close one first.", retryable=False)
        entrance = await self._db.entrances.add(new_entrance(record.sandbox_id, port, kind, self._clock()))
        if entrance.kind is not kind:
            raise ConflictError(f"Port {port} is open as {entrance.kind.name.lower()} already.", remedy="Close it first.")
        return await self._open(entrance)

    async def close_tunnel(self, sandbox_id: SandboxId, port: int) -> None:
        """Close a tunnel and break its connections off; a no-op if there is none."""
        async with self._opening:
            for entrance in await self._db.entrances.of(sandbox_id):
                if entrance.port == port and entrance.kind is not EntranceKind.CONNECT:
                    await self._db.entrances.remove(entrance.name)
                    self._by_sandbox[sandbox_id].discard(entrance.name)
                    self._close(entrance.name)

    async def connect_entrance(self, record: SandboxRecord) -> EntranceRecord:
        """The sandbox's HTTP entrance, open. Raises: ConflictError: the sandbox has ended."""
        if not record.is_live:
            raise _over()
        return await self._open(await self._db.entrances.add(new_entrance(record.sandbox_id, PORT, EntranceKind.CONNECT, self._clock())))

    async def _open(self, entrance: EntranceRecord) -> EntranceRecord:
        async with self._opening:  # a second caller finds what the first has opened
            known = self._by_name.get(entrance.name)
            if known is not None:
                return known
            if all(entrance.name != one.name for one in await self._db.entrances.of(entrance.sandbox_id)):
                raise ConflictError(f"Port {entrance.port} was closed meanwhile.", remedy="Open it again.", retryable=True)
            opened = await self._listeners.open(entrance)
            if opened != entrance:
                await self._db.entrances.bound(opened.name, plain_port=opened.plain_port, tls_port=opened.tls_port)
            self._by_name[opened.name] = opened
            self._by_sandbox[opened.sandbox_id].add(opened.name)
        self._on_change(opened.sandbox_id)  # it may have ended meanwhile
        return opened

    def _close(self, name: str) -> None:
        self._by_name.pop(name, None)
        self._listeners.close(name)
        self._break_off(name)

    def _on_change(self, sandbox_id: SandboxId) -> None:
        if sandbox_id in self._by_sandbox:
            self._ended.add(sandbox_id)
            self._some_ended.set()

    async def _running(self, sandbox_id: SandboxId, timeout_s: float) -> None:
        """Wait until the sandbox runs."""
        with self._changes.watch(sandbox_id) as changed:
            try:
                async with asyncio.timeout(timeout_s):
                    while (record := await self._db.sandboxes.get(sandbox_id)) and record.observed.state is SandboxState.PENDING:
                        await changed.wait()
                        changed.clear()
            except TimeoutError:
                raise SandboxTimeoutError(
                    f"The sandbox does not run after {timeout_s:g} s.", remedy="Ask again; it is being made."
                ) from None
        if record is None or not record.is_live:
            raise _over()


def new_entrance(sandbox_id: SandboxId, port: int, kind: EntranceKind, now: float) -> EntranceRecord:
    """One with a name that nobody guesses: 128 random bits."""
    return EntranceRecord(name=secrets.token_hex(16), sandbox_id=sandbox_id, port=port, kind=kind, created_at=now)


def _over() -> ConflictError:
    return ConflictError("The sandbox has ended.", code="sandbox_ended", remedy="Create another.")

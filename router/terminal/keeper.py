"""Ends terminals whose time has come, and hangs up their processes: nobody could reach these any more."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from cove.exception import Error
from router.db.protocol import Database
from router.db.records import TerminalRecord
from router.terminal.live import LiveTerminals
from router.terminal.process import Connections, TerminalProcess
from router.terminal.tickets import Terminals

SWEEP_S: Final = 5.0
SWEEP_LIMIT: Final = 100
"""Records a sweep takes up; the next one goes on."""

OVER: Final = "The session is over: unused for long, too old, or its API token was revoked."

log = structlog.get_logger(__name__)


class TerminalKeeper:
    """The background work; one instance per router."""

    def __init__(self, db: Database, terminals: Terminals, live: LiveTerminals, connections: Connections) -> None:
        self._db, self._terminals, self._live, self._connections = db, terminals, live, connections

    async def run(self) -> None:
        """Sweep for ever. One that fails is logged; the next starts from what is there."""
        while True:
            try:
                await self.sweep()
            except Error as error:
                log.error("terminal sweep failed", code=error.code, cause=error.cause)
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Look at everything once. Raises: Error: the database failed."""
        await self._write_down_use()
        for record in await self._terminals.over(SWEEP_LIMIT):
            await self._end(record)
        for live in self._live:
            if await self._db.terminals.get(live.record.terminal_id) is None:  # another router ended it
                self._live.end(live.record.terminal_id, OVER)
            elif live.is_forgettable(self._connections.clock()):
                self._live.forget(live)

    async def _write_down_use(self) -> None:
        used = {live.record.terminal_id: live.used_at for live in self._live if live.used_at}
        for live in self._live:
            live.used_at = 0.0
        if used:
            await self._db.terminals.touch(used)

    async def _end(self, record: TerminalRecord) -> None:
        self._live.end(record.terminal_id, OVER)
        if record.started_at:
            try:
                await TerminalProcess(record, self._connections).hang_up()
            except Error as error:
                log.info("terminal not hung up", sandbox=record.sandbox_id, code=error.code)
                if error.retryable:
                    return  # the record stays, so that the next sweep tries again; it opens nothing any more
        await self._db.terminals.delete(record.terminal_id)
        log.info("terminal ended", sandbox=record.sandbox_id, terminal=record.terminal_id)

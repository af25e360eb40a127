"""Who may open which terminal: one-time tokens, the cookies they are exchanged for, and how long either is good.

They are in the database, not in memory, so that a restart of the router ends nobody's session and several routers can serve one. The
database has hashes only (see :mod:`router.auth`). A session also ends with the API token that asked for it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from cove.exception import AuthError, ConflictError, InvalidError, ResourceExhaustedError
from cove.types import new_id
from cove.wire import control_pb2
from policies.specs import check_command, check_workdir
from router.auth import Caller, Hasher, is_credential
from router.db.protocol import Database
from router.db.records import SandboxRecord, TerminalRecord
from router.failures import FailureLimiter

TERMINAL_PREFIX: Final = "te"
TICKET_PREFIX: Final = "tt"
SESSION_PREFIX: Final = "ts"

TICKET_LIFETIME_S: Final = 120.0
"""Long enough to copy a link from one window to another."""

MAX_PER_SANDBOX: Final = 64
MAX_USER: Final = 256
DEFAULT_COMMAND: Final = (b"/bin/bash",)


class Terminals:
    """Links and sessions; one instance per router."""

    def __init__(self, db: Database, hasher: Hasher, *, idle_s: float, lifetime_s: float, clock: Callable[[], float]) -> None:
        """``idle_s``: without a page, or bytes to or from one. ``lifetime_s``: from the link on. ``clock``: Unix seconds."""
        self._db, self._hasher, self._clock = db, hasher, clock
        self._idle_s, self._lifetime_s = idle_s, lifetime_s
        self._failures = FailureLimiter(clock)

    async def create(
        self, caller: Caller, sandbox: SandboxRecord, request: control_pb2.TerminalCreateRequest
    ) -> tuple[TerminalRecord, str]:
        """A terminal in ``sandbox``, and the one-time token that opens it.

        Raises:
            InvalidError: the command, directory or user cannot be.
            ConflictError(sandbox_ended): the sandbox has ended.
            ResourceExhaustedError: it has too many terminals.
        """
        check_command(request.argv)
        check_workdir(request.workdir)
        _check_user(request.user)
        if not sandbox.is_live:
            raise ConflictError("The sandbox has ended.", code="sandbox_ended", remedy="Create another sandbox.")
        if await self._db.terminals.count(sandbox.sandbox_id) >= MAX_PER_SANDBOX:
            raise ResourceExhaustedError(
                f"The sandbox has {MAX_PER_SANDBOX} terminals.", remedy="Exit some; unused ones end by themselves."
            )
        terminal_id, ticket, now = new_id(TERMINAL_PREFIX), new_id(TICKET_PREFIX), self._clock()
        record = TerminalRecord(
            terminal_id=terminal_id,
            sandbox_id=sandbox.sandbox_id,
            token_id=caller.token_id,
            exec_id=new_id("ex"),
            request=_filled(request).SerializeToString(),
            ticket_hash=self._hasher(terminal_id, ticket),
            ticket_expires_at=now + TICKET_LIFETIME_S,
            created_at=now,
            expires_at=now + self._lifetime_s,
        )
        await self._db.terminals.add(record)
        return record, ticket

    async def redeem(self, terminal_id: str, ticket: str, *, peer: str) -> tuple[TerminalRecord, str]:
        """Exchange a one-time token for a session; its secret exists in the answer only.

        Args:    peer: network address without port, for limiting failures; valid tokens always pass.
        Raises:  AuthError: used, expired, or never given out. ResourceExhaustedError: too many failures from ``peer``.
        """
        secret = new_id(SESSION_PREFIX)
        # The comparison is the database's, of hashes: who times it learns of a hash whose key nobody has.
        if is_credential(ticket, TICKET_PREFIX) and await self._db.terminals.redeem(
            terminal_id, self._hasher(terminal_id, ticket), self._hasher(terminal_id, secret), self._clock()
        ):
            return await self.authorise(terminal_id, secret), secret
        if not self._failures.allows(peer):
            raise ResourceExhaustedError("Too many links from this address that were not good.", remedy="Wait a minute.")
        raise AuthError("The link was used, or is too old.", remedy="`cove sandbox terminal` prints a new one.")

    async def authorise(self, terminal_id: str, secret: str) -> TerminalRecord:
        """The terminal that a session opens. Raises: AuthError: none, or not any more."""
        record = await self._db.terminals.get(terminal_id)
        expected = record.session_hash if record else b""
        if record is None or not hmac.compare_digest(self._hasher(terminal_id, secret), expected) or await self._is_over(record):
            raise AuthError("This terminal's session is over.", remedy="`cove sandbox terminal` prints a new link.")
        return record

    async def _is_over(self, record: TerminalRecord) -> bool:
        now = self._clock()
        token = await self._db.tokens.get(record.token_id)
        return record.expires_at <= now or record.used_at <= now - self._idle_s or token is None or token.revoked_at > 0

    async def over(self, limit: int) -> list[TerminalRecord]:
        """Those whose time has come; see :meth:`TerminalStore.over`."""
        now = self._clock()
        return await self._db.terminals.over(now, used_before=now - self._idle_s, limit=limit)


def _filled(request: control_pb2.TerminalCreateRequest) -> control_pb2.TerminalCreateRequest:
    return control_pb2.TerminalCreateRequest(
        sandbox_id=request.sandbox_id, argv=request.argv or DEFAULT_COMMAND, workdir=request.workdir, user=request.user
    )


def _check_user(user: str) -> None:
    """The node understands it; here it is only kept in bounds. Raises: InvalidError."""
    if len(user) > MAX_USER or "\0" in user:
        raise InvalidError("The user is not valid.", remedy="Give a name, uid, name:group or uid:gid.")

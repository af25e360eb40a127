"""Terminals over HTTP: the page, the exchange of a link for a session, and the WebSocket.

==========================================  =====================================================================================
``GET /terminal/{id}``                      the page. It and its files are the same for everybody and say nothing of this
                                            installation, so they need no token: the one in the link is after the ``#``, which
                                            browsers keep to themselves. Servers' logs, link previews and ``Referer`` never have it.
``GET /terminal/assets/{name}``             its files
``POST /terminal/{id}/session``             ``{"ticket": …}`` for a cookie, once. The page has removed the token from its address by then
``GET /terminal/{id}/session``              what the cookie opens
``GET /terminal/{id}/socket``               the WebSocket; see :mod:`router.terminal.messages`
==========================================  =====================================================================================

The cookie is bound to the terminal's path, out of scripts' reach, and sent by pages of this site only. Cookies do not tell ports apart and
other ports of this host may be anybody's: whatever changes or opens something must come from a page of this very origin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from aiohttp import web
from yarl import URL

from cove.exception import InvalidError, PermissionDeniedError
from cove.wire import control_pb2
from router.db.records import TerminalRecord
from router.terminal.attachment import Attachment
from router.terminal.live import LiveTerminals
from router.terminal.messages import MAX_MESSAGE_BYTES
from router.terminal.page import HEADERS, asset, page
from router.terminal.tickets import Terminals

HEARTBEAT_S: Final = 20.0
"""A page that does not answer is gone; proxies on the way see that the connection is alive."""

MAX_COMMAND: Final = 200

_PATH: Final = "/terminal/{terminal_id:te-[A-Za-z0-9]{22}}"

log = structlog.get_logger(__name__)


class Redeem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of the exchange."""

    ticket: str


class Session(msgspec.Struct, frozen=True):
    """What a session opens, as the page shows it."""

    sandbox_id: str
    command: str
    expires_at: float


class TerminalEdge:
    """The handlers; one instance per router."""

    def __init__(self, terminals: Terminals, live: LiveTerminals, *, url: str | None, clock: Callable[[], float]) -> None:
        """``url``: base of the links, if the operator said one; otherwise whatever host a browser found this router under."""
        self._terminals, self._live, self._clock = terminals, live, clock
        self._url = URL(url) if url else None

    def handlers(self) -> list[web.RouteDef]:
        """All paths."""
        return [
            web.get("/terminal/assets/{name}", self.asset, allow_head=False),
            web.get(_PATH, self.page, allow_head=False),
            web.get(_PATH + "/session", self.session, allow_head=False),
            web.post(_PATH + "/session", self.redeem),
            web.get(_PATH + "/socket", self.socket, allow_head=False),
        ]

    async def page(self, request: web.Request) -> web.Response:
        return page()

    async def asset(self, request: web.Request) -> web.Response:
        """Raises: NotFoundError."""
        return asset(request.match_info["name"])

    async def redeem(self, request: web.Request) -> web.Response:
        """Raises: AuthError: the token is not good. PermissionDeniedError: another origin's page. InvalidError: malformed."""
        self._check_origin(request)
        record, secret = await self._terminals.redeem(_terminal_id(request), await _ticket(request), peer=request.remote or "")
        response = _session(record)
        response.set_cookie(
            _cookie(record.terminal_id),
            secret,
            path=f"{self._url.path.rstrip('/') if self._url else ''}/terminal/{record.terminal_id}",
            max_age=max(0, int(record.expires_at - self._clock())),
            httponly=True,
            samesite="Strict",
            secure=(self._url.scheme if self._url else request.scheme) == "https",
        )
        log.info("terminal opened", sandbox=record.sandbox_id, terminal=record.terminal_id)
        return response

    async def session(self, request: web.Request) -> web.Response:
        """Raises: AuthError: no session, or not any more."""
        return _session(await self._authorise(request))

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Raises: AuthError: no session. PermissionDeniedError: another origin's page. InvalidError: no WebSocket handshake."""
        self._check_origin(request)
        record = await self._authorise(request)
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        if not socket.can_prepare(request).ok:
            raise InvalidError("This is a WebSocket's address.")
        await socket.prepare(request)
        with structlog.contextvars.bound_contextvars(sandbox=record.sandbox_id, terminal=record.terminal_id):
            await Attachment(socket, self._live.get(record)).run()
        return socket

    async def stop(self, app: web.Application) -> None:
        """The router stops: pages are told to come again."""
        self._live.stop()

    async def _authorise(self, request: web.Request) -> TerminalRecord:
        terminal_id = _terminal_id(request)
        return await self._terminals.authorise(terminal_id, request.cookies.get(_cookie(terminal_id), ""))

    def _check_origin(self, request: web.Request) -> None:
        own = str(self._url.origin()) if self._url else f"{request.scheme}://{request.host}"
        if request.headers.getall("Origin", []) != [own]:
            raise PermissionDeniedError("The request comes from another origin's page.", remedy=f"Open the link below {own}.")


def _terminal_id(request: web.Request) -> str:
    return request.match_info["terminal_id"]


def _cookie(terminal_id: str) -> str:
    """Its name has the id, so that a cookie that somebody set for the whole host cannot take its place."""
    return f"cove-{terminal_id}"


def _session(record: TerminalRecord) -> web.Response:
    asked = control_pb2.TerminalCreateRequest.FromString(record.request)
    command = b" ".join(asked.argv).decode("utf-8", "replace")[:MAX_COMMAND]
    body = msgspec.json.encode(Session(record.sandbox_id, command, record.expires_at))
    return web.Response(body=body, content_type="application/json", headers=HEADERS)


async def _ticket(request: web.Request) -> str:
    """Raises: InvalidError."""
    try:
        return msgspec.json.decode(await request.read(), type=Redeem).ticket
    except msgspec.MsgspecError:
        raise InvalidError("A JSON object with a ticket was expected.") from None

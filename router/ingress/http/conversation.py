"""One visitor's connection: request after request, each with its own token, each answered by the server inside or by a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec
import structlog

from cove.exception import AuthError, Error, NotFoundError, PermissionDeniedError
from policies.connect_tokens import ConnectClaims, is_ours
from router.db.ingress import EntranceRecord
from router.ingress.connect_tokens import ConnectTokens
from router.ingress.dialer import Dialer
from router.ingress.http.bodies import Body, Framing, Length, request_length, response_length
from router.ingress.http.carriers import Presented, bearer_of, find_tokens
from router.ingress.http.forward import Visit, check_expectation, is_foreign, is_websocket, set_cookie, to_inside, to_visitor, wants_close
from router.ingress.http.heads import Field, Malformed, RequestHead, ResponseHead, parse_request, parse_response, values
from router.ingress.http.wire import Wire
from router.ingress.relay import join
from router.ingress.responses import answer, refusal

HEAD_S: Final = 15.0
"""How long a connection's first head may take to arrive."""

IDLE_S: Final = 75.0
"""How long a connection may wait for its next request."""

LINGER_S: Final = 1.0
"""How long a refused visitor may go on sending, so that the refusal is read before the connection breaks."""

FLUSH_S: Final = 60.0
"""How long the last bytes of an answer may take to leave."""

MAX_INTERIM: Final = 16
"""Responses of status 1xx to one request."""

T = TypeVar("T")

_REPEATABLE: Final = (b"GET", b"HEAD", b"OPTIONS")

log = structlog.get_logger(__name__)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What conversations need of the edge around them."""

    dialer: Dialer
    tokens: ConnectTokens
    clock: Callable[[], float]
    relayed: Callable[[int, int], None]
    """Told how many bytes a WebSocket took up and down, at its end."""


class _Exchange(msgspec.Struct, kw_only=True):
    """One request on its way."""

    head: RequestHead
    inside: bytes
    body: Body
    websocket: bool
    cookies: Sequence[Field]
    fault: Malformed | None = None
    """What was wrong with the request's body."""


class Conversation:
    """Serves one connection.

    Args:
        entrance: where the visitor came in; None: where there is nothing.
        over: called once when both connections are gone.
    """

    def __init__(
        self, around: Surroundings, wire: Wire, entrance: EntranceRecord | None, *, tls: bool, over: Callable[[Conversation], None]
    ) -> None:
        self._around, self._wire, self._tls, self._over = around, wire, tls, over
        self.entrance = entrance
        self.token_id = ""
        """Of the token that the last request came with."""
        self._upstream: Wire | None = None
        self._relaying = False
        self._answered = False
        self._expiry: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serve until the visitor, the server or an error ends it; :meth:`finish` comes after it, however it ended."""
        try:
            await self._talk()
        except (ConnectionResetError, TimeoutError):
            pass  # the visitor has gone, or says nothing
        except Malformed as error:
            await self._refuse(answer(error.status, error.text))
        except Error as error:
            extra = "WWW-Authenticate: Bearer\r\n" if isinstance(error, AuthError) else ""
            await self._refuse(refusal(error, headers=extra))

    def finish(self) -> None:
        """Let go of everything, unless a relay goes on, which will."""
        if not self._relaying:
            self._end()

    def abort(self) -> None:
        """Break it off."""
        self._wire.transport.abort()

    def _end(self) -> None:
        self._stop_expiry()
        self._drop_upstream()
        transport = self._wire.transport
        transport.close()
        if transport.get_write_buffer_size():  # a visitor who does not read what was written must not stay for that
            asyncio.get_running_loop().call_later(FLUSH_S, transport.abort)
        self._over(self)

    async def _talk(self) -> None:
        patience_s, more = HEAD_S, True
        while more:
            async with asyncio.timeout(patience_s):
                raw = await self._wire.head()
            if not raw:
                return
            self._answered = False
            more = await self._serve(parse_request(raw))
            patience_s = IDLE_S

    async def _refuse(self, message: bytes) -> None:
        """Say why nothing more is served, unless an answer has begun: that one is visibly broken off."""
        transport = self._wire.transport
        if self._answered or transport.is_closing():
            transport.abort()
            return
        transport.write(message)
        if transport.can_write_eof():
            transport.write_eof()
        try:
            async with asyncio.timeout(LINGER_S):
                while await self._wire.read():
                    pass
        except TimeoutError:
            return

    # --- one request -------------------------------------------------------------------------------------------------------------------

    async def _serve(self, head: RequestHead) -> bool:
        """Returns: whether the connection goes on."""
        entrance = self.entrance
        if entrance is None:
            raise NotFoundError("There is nothing here.", remedy="The sandbox may have ended.")
        length, websocket = request_length(head), is_websocket(head)
        check_expectation(head)
        presented, claims = await self._authorize(head, entrance)
        visit = Visit(
            user_metadata=claims.user_metadata,
            peer=self._peer(),
            tls=self._tls,
            drop_authorization=presented.carrier == "bearer" or _has_our_bearer(head),
        )
        exchange = _Exchange(
            head=head,
            inside=to_inside(head, visit, length, websocket=websocket),
            body=Body(length),
            websocket=websocket,
            cookies=self._cookies(presented, claims),
        )
        return await self._exchange(entrance, exchange)

    async def _authorize(self, head: RequestHead, entrance: EntranceRecord) -> tuple[Presented, ConnectClaims]:
        """Raises:  AuthError: no token that opens this. PermissionDeniedError: another site's page sent the cookie."""
        refused = AuthError(
            "The request carries no connect token.", remedy="Send it as `Authorization: Bearer`, or as _cove_connect_token."
        )
        for presented in find_tokens(head):
            try:
                claims = await self._around.tokens.check(presented.token, entrance.sandbox_id)
            except AuthError as error:
                refused = error
                continue
            if presented.carrier == "cookie" and is_foreign(head):
                raise PermissionDeniedError("Pages of other sites cannot use this site's cookie.")
            self._admit(claims)
            return presented, claims
        raise refused

    def _admit(self, claims: ConnectClaims) -> None:
        if claims.token_id != self.token_id:
            self._stop_expiry()
            self.token_id = claims.token_id
            left_s = claims.expires_at - self._around.clock()
            self._expiry = asyncio.get_running_loop().call_later(left_s, self.abort)

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _cookies(self, presented: Presented, claims: ConnectClaims) -> list[Field]:
        if presented.carrier != "query":
            return []
        max_age_s = max(0, int(claims.expires_at - self._around.clock()))
        return [set_cookie(presented.name, presented.token, max_age_s=max_age_s, tls=self._tls)]

    def _peer(self) -> str:
        name = self._wire.transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    # --- its way inside and back -------------------------------------------------------------------------------------------------------

    async def _exchange(self, entrance: EntranceRecord, exchange: _Exchange) -> bool:
        upstream, reused = await self._connect(entrance)
        await _inside(upstream.write(exchange.inside))
        if not exchange.body.done:
            return await self._with_body(upstream, exchange)
        raw = await _inside(upstream.head())
        if not raw and reused and exchange.head.method in _REPEATABLE:
            # The server closed the connection just when it was to be used again, which it may.
            self._drop_upstream()
            upstream, _ = await self._connect(entrance)
            await _inside(upstream.write(exchange.inside))
            raw = await _inside(upstream.head())
        return await self._answer(upstream, exchange, raw)

    async def _with_body(self, upstream: Wire, exchange: _Exchange) -> bool:
        """Send the body while the response may already come."""
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send_body(upstream, exchange))
            outcome = group.create_task(_outcome(self._answer_early(upstream, exchange)))
            await asyncio.wait([outcome])
            unfinished = not sending.done()
            sending.cancel()
        more = outcome.result()
        if isinstance(more, Exception):
            raise exchange.fault or more
        if unfinished:
            self._drop_upstream()
        return more and not unfinished

    async def _answer_early(self, upstream: Wire, exchange: _Exchange) -> bool:
        return await self._answer(upstream, exchange, await _inside(upstream.head()))

    async def _send_body(self, upstream: Wire, exchange: _Exchange) -> None:
        """Send the request's body on. What goes wrong ends the connection inside, where the response is waited for."""
        body = exchange.body
        try:
            while not body.done:
                data = await self._wire.read()
                if not data:
                    raise Malformed("The body breaks off.")
                sent, rest = body.feed(data)
                if rest:
                    self._wire.unread(rest)
                if sent:
                    await upstream.write(sent)
        except Malformed as error:
            exchange.fault = error
            upstream.transport.abort()
        except ConnectionResetError:
            return  # the server closed early; what it answered is read elsewhere

    async def _answer(self, upstream: Wire, exchange: _Exchange, raw: bytes) -> bool:
        """Pass the response on. ``raw``: its first head; empty: there is none. Returns: whether the connection goes on."""
        response = _parse(raw)
        for _ in range(MAX_INTERIM):
            if response.status >= 200 or response.status == 101:
                break
            if exchange.head.minor == 1:
                await self._wire.write(to_visitor(response, 0, close=False, plain=False))
            response = _parse(await _inside(upstream.head()))
        if response.status == 101:
            return await self._upgrade(upstream, exchange, response)
        if response.status < 200:
            raise Malformed("The server inside does not come to an answer.", 502)
        return await self._pass_back(upstream, exchange, response)

    async def _pass_back(self, upstream: Wire, exchange: _Exchange, response: ResponseHead) -> bool:
        length = response_length(response, exchange.head.method)
        plain = exchange.head.minor == 0
        close = wants_close(exchange.head) or length is Framing.UNTIL_CLOSE or (plain and length is Framing.CHUNKED)
        head = to_visitor(response, length, close=close, plain=plain, more=exchange.cookies)
        self._answered = True
        await self._wire.write(head)
        clean = await self._pass_body_back(upstream, length, plain=plain)
        if not clean or wants_close(response) or not upstream.usable:
            self._drop_upstream()
        return not close

    async def _pass_body_back(self, upstream: Wire, length: Length, *, plain: bool) -> bool:
        """Returns: whether the connection inside is where it should be.

        Raises:  Malformed: the body breaks off, or is none.
        """
        body, rest = Body(length, plain=plain), b""
        while not body.done:
            data = await upstream.read()
            if not data:
                if not body.ends_well():
                    raise Malformed("The response breaks off.", 502)
                return False
            sent, rest = body.feed(data)
            if sent:
                await self._wire.write(sent)
        return not rest

    async def _upgrade(self, upstream: Wire, exchange: _Exchange, response: ResponseHead) -> bool:
        """The server agreed to a WebSocket: from here on both sides' bytes are theirs."""
        if not exchange.websocket or [value.lower() for value in values(response.fields, b"upgrade")] != [b"websocket"]:
            raise Malformed("The server inside changed the protocol to one that nobody asked for.", 502)
        self._answered = True
        await self._wire.write(to_visitor(response, 0, close=False, plain=False, more=exchange.cookies))
        client, to_node = self._wire.give_away()
        node, to_client = upstream.give_away()
        self._relaying, self._upstream = True, None
        join(client, node, self._relayed, to_node=to_node, to_client=to_client)
        return False

    def _relayed(self, up: int, down: int) -> None:
        self._around.relayed(up, down)
        self._end()

    async def _connect(self, entrance: EntranceRecord) -> tuple[Wire, bool]:
        """The connection inside, and whether it was there before."""
        if self._upstream is not None and self._upstream.usable:
            return self._upstream, True
        self._drop_upstream()
        opened = await self._around.dialer.dial(entrance.sandbox_id, entrance.port)
        wire = Wire(lambda: None)
        wire.connection_made(opened.transport)
        wire.unread(opened.first)
        opened.transport.set_protocol(wire)
        if opened.transport.is_closing():
            wire.connection_lost(None)
        else:
            opened.transport.resume_reading()
        self._upstream = wire
        return wire, False

    def _drop_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.transport.abort()
            self._upstream = None


def _has_our_bearer(head: RequestHead) -> bool:
    return any(is_ours(bearer_of(value)) for value in values(head.fields, b"authorization"))


def _parse(raw: bytes) -> ResponseHead:
    """Raises:  Malformed: it is none."""
    if not raw:
        raise Malformed("The server inside closed the connection without an answer.", 502)
    try:
        return parse_response(raw)
    except Malformed as error:
        raise Malformed(f"The server inside sent no HTTP: {error.text}", 502) from error


async def _inside(work: Awaitable[T]) -> T:
    """What goes wrong on the connection inside is the server's fault, not the visitor's."""
    try:
        return await work
    except ConnectionResetError as error:
        raise Malformed("The server inside closed the connection.", 502) from error
    except Malformed as error:
        raise Malformed(f"The server inside sent no HTTP: {error.text}", 502) from error


async def _outcome(work: Awaitable[bool]) -> bool | Exception:
    """Its result or its error, as a value: a task group would wrap the error, and cancel what is to be waited for."""
    try:
        return await work
    except Exception as error:  # whatever it is: who asked raises it
        return error

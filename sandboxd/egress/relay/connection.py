"""One relayed connection: what the sandbox sends passes the sniffer, what comes back passes as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from policies.egress.ranges import Rule
from sandboxd.egress.relay.client_hello import refusal as tls_refusal
from sandboxd.egress.relay.side import BUFFER_BYTES, Side
from sandboxd.egress.relay.sniffer import MalformedError, Sniffer
from sandboxd.egress.relay.verdicts import RefusedError

PATIENCE_S: Final = 10.0
"""How long the begin of a protocol, or the head of a request, may take to come."""
FAREWELL_S: Final = 1.0
"""How long a refusal may take to be read."""


class Connection:
    """Between two sides, of which the outer one comes later: a Listener of both."""

    def __init__(
        self,
        inner: Side,
        sniffer: Sniffer | None,
        *,
        passed: Callable[[], None],
        refused: Callable[[RefusedError], None],
        ended: Callable[[], None],
    ) -> None:
        """Begin with the sandbox's side.

        Args:
            sniffer: None: everything gets through.
            passed: told when the first bytes of the sandbox go on.
            refused: told why it ends.
            ended: told once, when both sides are gone.
        """
        self._inner = inner
        self._outer: Side | None = None
        self._sniffer = sniffer
        self._passed: Callable[[], None] | None = passed
        self._refused = refused
        self._ended = ended
        self._sides = 1
        self._pending = bytearray()
        """Let through before there was anywhere to send it."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_refused = False
        inner.listener = self

    @property
    def was_looked_at(self) -> bool:
        """Whether the names that it said were checked."""
        return self._sniffer is not None

    def connect(self, outer: Side, said: bytes) -> None:
        """Add the outer side, which is connected and has ``said`` something already."""
        if self._sides == 0 or self._is_refused:  # the sandbox's side is gone meanwhile
            outer.reset()
            return
        if outer.is_lost:
            self._inner.reset()
            return
        self._outer = outer
        self._sides += 1
        outer.listener, outer.other, self._inner.other = self, self._inner, outer
        if self._pending:
            outer.write(bytes(self._pending))
            self._pending.clear()
            self._inner.go_on()
        if said:
            self._from_outside(said)
        for side in (self._inner, outer):
            if side.has_ended:
                self.ended(side)

    def reset(self) -> None:
        """End it as if the network had: both sides see a reset."""
        self._inner.reset()
        if self._outer is not None:
            self._outer.reset()

    # --- what the sides tell ---------------------------------------------------------------------------------------------------------

    def received(self, side: Side, data: bytes) -> None:
        if self._is_refused:
            return
        if side is not self._inner:
            self._from_outside(data)
        elif self._sniffer is None:
            self._send_out(data)
        else:
            self._look_at(self._sniffer.feed, data)

    def ended(self, side: Side) -> None:
        if side is self._inner:
            if self._outer is not None:
                self._outer.write_eof()
        else:
            self._inner.write_eof()
        if self._outer is not None and self._inner.has_ended and self._outer.has_ended:
            self._inner.close()
            self._outer.close()

    def lost(self, side: Side, error: Exception | None) -> None:
        other = self._outer if side is self._inner else self._inner
        says_farewell = self._is_refused and other is self._inner
        if other is not None and not says_farewell:
            if error is not None or not side.has_ended:
                other.reset()
            else:
                other.close()
        self._sides -= 1
        if side is self._inner:
            self._stop_timer()
        if self._sides == 0:
            self._ended()

    # --- on the way out --------------------------------------------------------------------------------------------------------------

    def _look_at(self, feed: Callable[[bytes], bytes], data: bytes) -> None:
        try:
            let = feed(data)
        except RefusedError as error:
            self._refuse(error)
            return
        except MalformedError as error:
            self._refuse(RefusedError(Rule.PROTOCOL, f"The connection cannot be told to be for an allowed name: {error}."))
            return
        if self._sniffer is None or not self._sniffer.is_waiting:
            self._stop_timer()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._out_of_patience)
        if let:
            self._send_out(let)

    def _send_out(self, data: bytes) -> None:
        if self._passed is not None:
            self._passed()
            self._passed = None
        if self._outer is not None:
            self._outer.write(data)
            return
        self._pending += data
        if len(self._pending) > BUFFER_BYTES:
            self._inner.hold()

    def _from_outside(self, data: bytes) -> None:
        self._inner.write(data)
        if self._sniffer is not None and self._sniffer.is_switching:
            self._look_at(self._sniffer.answered, data)

    def _out_of_patience(self) -> None:
        self._timer = None
        self._refuse(RefusedError(Rule.PROTOCOL, "Send the begin of a connection, or of a request, without a pause."))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: RefusedError) -> None:
        """End it; tell the program inside why, if it speaks something that we do, too."""
        self._is_refused = True
        self._stop_timer()
        if self._outer is not None:
            self._outer.reset()
        farewell = _farewell(self._sniffer, error)
        if farewell:
            # What it still sends is read and dropped: unread, it would make the kernel take the farewell back.
            self._inner.write(farewell)
            self._inner.write_eof()
            self._inner.go_on()
            self._timer = asyncio.get_running_loop().call_later(FAREWELL_S, self._inner.close)
        else:
            self._inner.reset()
        self._refused(error)


def _farewell(sniffer: Sniffer | None, error: RefusedError) -> bytes:
    if sniffer is not None and sniffer.speaks_tls:
        return tls_refusal()
    if sniffer is None or not sniffer.speaks_http:
        return b""
    where = f" to {error.name}" if error.name else ""
    body = f"cove: this sandbox's network policy does not allow this request{where}. {error.remedy}\n".encode("ascii", "replace")
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode("ascii") + body

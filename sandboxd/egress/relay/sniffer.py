"""Looks at what a sandbox sends on a connection, and lets it through once the names in it are allowed. Pure.

A connection that begins with TLS names its server in the first message; one that begins with HTTP/1 names a host in every request; others
name nothing, and get through as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sandboxd.egress.relay import client_hello, http_requests
from sandboxd.egress.relay.client_hello import HANDSHAKE, MAX_HELLO
from sandboxd.egress.relay.http_requests import HttpRequests

MAX_FIRST_LINE: Final = 16_384
"""Bytes that may be the beginning of a request line; servers take 8 KB, some 16."""

_BEGIN: Final = 64
"""Bytes that show whether it can be a request."""
_MAY_BE_REQUEST: Final = re.compile(rb"\s*[!#$%&'*+.^_`|~0-9A-Za-z-]{0,32}( [^\n]*)?")
_IS_REQUEST: Final = re.compile(rb"[ \t]HTTP/[0-9]", re.IGNORECASE)


class MalformedError(Exception):
    """It begins like a protocol that names hosts, and does not follow it. The text says what is wrong, without the sandbox's bytes."""


class Sniffer:
    """What the sandbox sends on one connection goes through :meth:`feed`."""

    def __init__(self, check: Callable[[str], None]) -> None:
        """``check``: called with each name before what names it gets through; raises to refuse it."""
        self._check = check
        self._held = bytearray()
        """Seen, and not yet known what it is."""
        self._let = 0
        """Bytes of it that went on nevertheless."""
        self._requests: HttpRequests | None = None
        self._over = False
        self.speaks_http = False
        """Whether refusals can be told in HTTP."""
        self.speaks_tls = False
        """Whether refusals can be told in TLS."""

    @property
    def is_waiting(self) -> bool:
        """Whether bytes are held back until more come; honest clients do not let them wait."""
        return len(self._held) > self._let or (self._requests is not None and self._requests.is_waiting)

    @property
    def is_over(self) -> bool:
        """Whether everything gets through from here on."""
        return self._over

    @property
    def is_switching(self) -> bool:
        """Whether :meth:`answered` wants the server's next words."""
        return self._requests is not None and self._requests.is_switching

    def feed(self, data: bytes) -> bytes:
        """What may go on by now. Raises: MalformedError, and what ``check`` raises; nothing more of the connection may go on then."""
        if self._over:
            return data
        if self._requests is not None:
            return self._through_http(self._requests.feed, data)
        self._held += data
        if not self._held:
            return b""
        return self._begin_tls() if self._held[0] == HANDSHAKE else self._begin_other(b"\n" in data)

    def answered(self, data: bytes) -> bytes:
        """The server's first words after a request to switch protocols. Returns and raises: as :meth:`feed`."""
        return self._through_http(self._requests.answered, data) if self._requests is not None else b""

    def _begin_tls(self) -> bytes:
        self.speaks_tls = True
        try:
            name = client_hello.server_name(self._held)
        except client_hello.IncompleteError:
            if len(self._held) > MAX_HELLO:
                raise MalformedError("its ClientHello does not end") from None
            return b""
        except client_hello.MalformedError as error:
            raise MalformedError(f"its ClientHello is malformed: {error}") from None
        if name:
            self._check(name)
        return self._let_all()

    def _begin_other(self, has_line_end: bool) -> bytes:
        line, found, _ = bytes(self._held).lstrip().partition(b"\n") if has_line_end else (b"", b"", b"")
        if found and _IS_REQUEST.search(line):
            self.speaks_http = True
            self._requests = HttpRequests(self._check)
            data, self._held = bytes(self._held), bytearray()
            return self._through_http(self._requests.feed, data)
        if found or not _MAY_BE_REQUEST.fullmatch(self._held[:_BEGIN]):
            return self._let_all()
        if len(self._held) > MAX_FIRST_LINE:
            raise MalformedError("its first line does not end")
        # It can still become a request. That goes on at once, as programs of other protocols wait for the answer to a word without
        # a line's end; no server acts on a request whose line does not end, and that end is not let through unseen.
        piece = bytes(self._held[self._let :])
        self._let = len(self._held)
        return piece

    def _through_http(self, feed: Callable[[bytes], bytes], data: bytes) -> bytes:
        try:
            let = feed(data)
        except http_requests.MalformedError as error:
            raise MalformedError(f"its HTTP is ambiguous: {error}") from None
        self._over = self._requests is not None and self._requests.is_over
        return self._rest(let)

    def _let_all(self) -> bytes:
        self._over = True
        data, self._held = bytes(self._held), bytearray()
        return self._rest(data)

    def _rest(self, data: bytes) -> bytes:
        """``data`` without what went on before."""
        rest = data[self._let :]
        self._let = max(0, self._let - len(data))
        return rest

"""Proxies that the operator configured: where they are, and how to say what is wanted of them. Pure.

Source: RFC 1928 (SOCKS5), RFC 1929 (its user names and passwords), RFC 9110, 9.3.6 (CONNECT).
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Generator
from ipaddress import IPv4Address
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

_SCHEMES: Final = {"socks5": 1080, "http": 3128}
_MAX_CREDENTIAL: Final = 255
"""Bytes. Source: RFC 1929, 2."""
MAX_HEAD: Final = 16_384
"""Bytes that an HTTP proxy may say before the connection stands."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (?P<status>[0-9]{3})( |\r)")

SOCKS_REFUSALS: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}


class ProxyError(Exception):
    """The proxy does not do what is wanted. The text never has credentials."""


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy. Its text form leaves the credentials out."""

    scheme: str
    host: str
    port: int
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.scheme}://{self.host}:{self.port})"

    __str__ = __repr__


def parse_url(url: str) -> Proxy:
    """A proxy from ``socks5://[user:password@]host[:port]`` or ``http://…``; credentials are percent-encoded.

    Raises:  ValueError: it is none. The text does not repeat the URL, which has credentials.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port of a proxy is not a number below 65536") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("a proxy's URL begins with socks5:// or http://")
    if not parts.hostname or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("a proxy's URL has a host, may have a port, and nothing behind it")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if any(len(text.encode()) > _MAX_CREDENTIAL for text in (username, password)) or ":" in username or (password and not username):
        raise ValueError("a proxy's user name or password is too long, or has a colon, or lacks the other")
    return Proxy(scheme=parts.scheme, host=parts.hostname, port=port or _SCHEMES[parts.scheme], username=username, password=password)


# --- what is said to it --------------------------------------------------------------------------------------------------------------

Wanted = Callable[[bytes], int]
"""From what a proxy has said since it was last spoken to, how many bytes of it are the answer; 0: not all are there."""

Dialogue = Generator[tuple[bytes, Wanted], bytes, None]
"""Yields what to say and which answer to wait for, takes the answer, and ends when the connection stands. Raises: ProxyError."""


def dialogue(proxy: Proxy, address: IPv4Address, port: int) -> Dialogue:
    """How to have ``proxy`` connect to ``address``."""
    return _socks5(proxy, address, port) if proxy.scheme == "socks5" else _connect(proxy, address, port)


def _socks5(proxy: Proxy, address: IPv4Address, port: int) -> Dialogue:
    method = 2 if proxy.username else 0
    answer = yield bytes([5, 1, method]), _of_size(2)
    if answer[0] != 5:
        raise ProxyError("it does not speak SOCKS5")
    if answer[1] != method:
        raise ProxyError("it takes no user names and passwords" if method else "it wants a user name and password")
    if method:
        username, password = proxy.username.encode(), proxy.password.encode()
        answer = yield bytes([1, len(username)]) + username + bytes([len(password)]) + password, _of_size(2)
        if answer[1]:
            raise ProxyError("it does not accept the user name and password")
    answer = yield b"\5\1\0\1" + address.packed + struct.pack("!H", port), _socks_answer
    if answer[1]:
        raise ProxyError(SOCKS_REFUSALS.get(answer[1], "refused for no known reason"))


def _of_size(size: int) -> Wanted:
    return lambda said: size if len(said) >= size else 0


def _socks_answer(said: bytes) -> int:
    if len(said) < 2:
        return 0
    if said[0] != 5 or said[1]:  # a refusal; what may follow does not matter
        return 2
    if len(said) < 5:
        return 0
    sizes = {1: 4, 4: 16, 3: 1 + said[4]}
    if said[3] not in sizes:
        raise ProxyError("it answers with an address of no known type")
    return _of_size(4 + sizes[said[3]] + 2)(said)


def _connect(proxy: Proxy, address: IPv4Address, port: int) -> Dialogue:
    lines = [f"CONNECT {address}:{port} HTTP/1.1", f"Host: {address}:{port}"]
    if proxy.username:
        token = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode("ascii")
        lines.append(f"Proxy-Authorization: Basic {token}")
    head = yield "\r\n".join([*lines, "", ""]).encode("ascii"), _http_head
    found = _STATUS.match(head)
    if not found:
        raise ProxyError("it does not speak HTTP")
    if not found["status"].startswith(b"2"):
        raise ProxyError(f"it answers with status {found['status'].decode()}")


def _http_head(said: bytes) -> int:
    end = said.find(b"\r\n\r\n")
    if end < 0 and len(said) > MAX_HEAD:
        raise ProxyError("its answer does not end")
    return end + 4 if end >= 0 else 0

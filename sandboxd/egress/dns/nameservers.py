"""Which nameservers the resolver asks: the host's own, those on its loopback included."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sandboxd.egress.dns.upstream import Server

HOST_FILE: Final = Path("/etc/resolv.conf")

MAX_NAMESERVERS: Final = 3
"""Programs read no more. Source: resolv.conf(5), MAXNS."""


class HostNameservers:
    """The nameservers of a resolv.conf, read again when it was changed."""

    def __init__(self, path: Path = HOST_FILE) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._servers: tuple[Server, ...] = ()

    def __call__(self) -> Sequence[Server]:
        """Those of now; none while the file is missing."""
        try:
            status = self._path.stat()
            version = status.st_mtime_ns, status.st_ino
            if version != self._version:
                self._servers = parse_nameservers(self._path.read_text(errors="replace"))
                self._version = version
        except OSError:
            self._servers, self._version = (), None
        return self._servers


def parse_nameservers(text: str) -> tuple[Server, ...]:
    """The servers of a resolv.conf. Pure."""
    found: list[Server] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_] if _is_address(address):
                found.append(Server(address))
    return tuple(dict.fromkeys(found))[:MAX_NAMESERVERS]


def parse_server(text: str) -> Server:
    """One of ``address`` or ``address:port``, IPv4. Raises: ValueError: it is none. Pure."""
    host, _, port = text.partition(":")
    server = Server(str(ipaddress.IPv4Address(host)), int(port or Server._field_defaults["port"]))
    if not 0 < server.port < 65_536:
        raise ValueError(f"{text} has no port below 65536")
    return server


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

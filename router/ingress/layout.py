"""Where entrances are bound and what clients are told. Pure.

Without a domain everything is on this machine's loopback network: each entrance has an address of its own in 127.0.0.0/8 (browsers keep
cookies by host, not by port: what one sandbox's pages store, another's must not get), and ports of its own, which the kernel chooses.
With a domain each has a name of its own below it; TLS connections come to one port and are told apart by SNI.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from cove.wire import common_pb2, ingress_pb2
from router.db.ingress import EntranceKind, EntranceRecord

HTTPS_PORT: Final = 443


class Bind(NamedTuple):
    """Where to listen: on this port, or if it is 0 on one of ``among``, or if that is empty on one that the kernel chooses."""

    host: str
    port: int
    among: Sequence[int] = ()


class Layout(Protocol):
    """One way to lay entrances out."""

    def plain(self, entrance: EntranceRecord) -> Bind | None:
        """Where to listen for it without TLS, if at all."""

    def tls(self, entrance: EntranceRecord) -> Bind | None:
        """Where to listen for it alone with TLS, if at all."""

    def url(self, entrance: EntranceRecord) -> str:
        """Its URL, once it is bound."""

    def tunnel(self, entrance: EntranceRecord) -> ingress_pb2.TunnelInfo:
        """How a bound tunnel is reached."""


class LoopbackLayout:
    """For one machine without a domain: plain HTTP works as printed; TLS has certificates of a local CA."""

    def plain(self, entrance: EntranceRecord) -> Bind | None:
        return None if entrance.kind is EntranceKind.H2 else Bind(loopback_address(entrance.name), entrance.plain_port)

    def tls(self, entrance: EntranceRecord) -> Bind | None:
        return None if entrance.kind is EntranceKind.CONNECT else Bind(loopback_address(entrance.name), entrance.tls_port)

    def url(self, entrance: EntranceRecord) -> str:
        host = loopback_address(entrance.name)
        return f"http://{host}:{entrance.plain_port}" if entrance.kind is not EntranceKind.H2 else f"https://{host}:{entrance.tls_port}"

    def tunnel(self, entrance: EntranceRecord) -> ingress_pb2.TunnelInfo:
        host, raw = loopback_address(entrance.name), entrance.kind is EntranceKind.UNENCRYPTED
        return _info(entrance, self.url(entrance), (host, entrance.tls_port), (host, entrance.plain_port) if raw else None)


class DomainLayout:
    """For a domain whose names all lead here.

    Args:
        tls_port: where TLS connections come in, as clients see it.
        tcp_host: the address that ports without TLS are bound to, on which ``tcp_ports`` (first, last) are free.
    """

    def __init__(self, domain: str, *, tls_port: int, tcp_host: str, tcp_ports: tuple[int, int]) -> None:
        self._domain, self._tls_port, self._tcp_host = domain, tls_port, tcp_host
        self._tcp_ports = range(tcp_ports[0], tcp_ports[1] + 1)

    def plain(self, entrance: EntranceRecord) -> Bind | None:
        if entrance.kind is not EntranceKind.UNENCRYPTED:
            return None
        return Bind(self._tcp_host, entrance.plain_port if entrance.plain_port in self._tcp_ports else 0, self._tcp_ports)

    def tls(self, entrance: EntranceRecord) -> Bind | None:
        return None  # all share one

    def url(self, entrance: EntranceRecord) -> str:
        port = "" if self._tls_port == HTTPS_PORT else f":{self._tls_port}"
        return f"https://{self._host(entrance)}{port}"

    def tunnel(self, entrance: EntranceRecord) -> ingress_pb2.TunnelInfo:
        host, raw = self._host(entrance), entrance.kind is EntranceKind.UNENCRYPTED
        return _info(entrance, self.url(entrance), (host, self._tls_port), (host, entrance.plain_port) if raw else None)

    def name_of(self, host: str) -> str | None:
        """The name of the entrance that a client means by ``host`` (SNI); None: no name of ours."""
        name, dot, domain = host.lower().rstrip(".").partition(".")
        return name if dot and domain == self._domain else None

    def _host(self, entrance: EntranceRecord) -> str:
        return f"{entrance.name}.{self._domain}"


def loopback_address(name: str) -> str:
    """The address of an entrance of this name. Low numbers are left alone: programs bind them."""
    digest = hashlib.sha256(name.encode()).digest()
    return f"127.{64 + digest[0] % 190}.{digest[1]}.{1 + digest[2] % 254}"


def _info(entrance: EntranceRecord, url: str, tls: tuple[str, int], tcp: tuple[str, int] | None) -> ingress_pb2.TunnelInfo:
    spec = common_pb2.PortSpec(port=entrance.port, kind=common_pb2.PortKind.Name(int(entrance.kind)))
    tcp_host, tcp_port = tcp or ("", 0)
    return ingress_pb2.TunnelInfo(spec=spec, url=url, tls_host=tls[0], tls_port=tls[1], tcp_host=tcp_host, tcp_port=tcp_port)

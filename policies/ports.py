"""Which ports of a sandbox may be reached from outside, and how. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cove.exception import InvalidError
from cove.wire.common_pb2 import PortKind, PortSpec

MAX_PORTS: Final = 64
"""Tunnels of one sandbox."""

_KINDS: Final = frozenset(PortKind.values())


def check_ports(specs: Iterable[PortSpec]) -> None:
    """Pass if each is a port that can be opened, and none is there twice.

    Raises:  InvalidError: naming the port.
    """
    seen = set[int]()
    for spec in specs:
        check_port(spec)
        if spec.port in seen:
            raise InvalidError(f"Port {spec.port} is there twice.", remedy="Give each port in one list only.", context={"field": "ports"})
        seen.add(spec.port)
    if len(seen) > MAX_PORTS:
        raise InvalidError(f"{len(seen)} ports are too many.", remedy=f"Allowed are {MAX_PORTS}.", context={"field": "ports"})


def check_port(spec: PortSpec) -> None:
    """Raises:  InvalidError: no port, or opened in no known way."""
    if not 1 <= spec.port <= 65_535:
        raise InvalidError(f"Port {spec.port} is out of range.", remedy="Ports are 1 to 65535.", context={"field": "ports"})
    if spec.kind not in _KINDS:
        raise InvalidError(f"Port {spec.port} is of an unknown kind.", remedy="Upgrade the server.", context={"field": "ports"})

"""Ports and user metadata as callers give them, and tunnels as the server tells them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cove.exception import InvalidError
from cove.tunnel import Tunnel
from cove.wire import common_pb2, ingress_pb2

MAX_METADATA: Final = 511


def port_specs(encrypted: Sequence[int], unencrypted: Sequence[int], h2: Sequence[int]) -> list[common_pb2.PortSpec]:
    """The ports that a sandbox is created with.

    Raises:  InvalidError: naming one that is no port.
    """
    kinds = (
        (encrypted, common_pb2.PORT_KIND_ENCRYPTED),
        (unencrypted, common_pb2.PORT_KIND_UNENCRYPTED),
        (h2, common_pb2.PORT_KIND_H2),
    )
    return [port_spec(port, kind) for ports, kind in kinds for port in ports]


def port_spec(port: int, kind: common_pb2.PortKind) -> common_pb2.PortSpec:
    """Raises:  InvalidError: ``port`` is none."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65_535:
        raise InvalidError(f"{port!r} is not a port.", remedy="Ports are whole numbers from 1 to 65535.")
    return common_pb2.PortSpec(port=port, kind=kind)


def tunnel(info: ingress_pb2.TunnelInfo) -> Tunnel:
    """As the public API has it."""
    return Tunnel(info.tls_host, info.tls_port, info.tcp_host, info.tcp_port, info.url)


def metadata(value: str | Mapping[str, Any] | None) -> str:
    """What the server inside will be told of the user: text as it is, all else as JSON.

    Raises:  InvalidError: it is no JSON, or too long.
    """
    try:
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    except (TypeError, ValueError) as error:
        raise InvalidError(f"user_metadata cannot be JSON: {error}.", remedy="Pass a dict of strings, numbers and the like.") from error
    if len(text) > MAX_METADATA:
        raise InvalidError(f"user_metadata has {len(text)} characters.", remedy=f"Allowed are {MAX_METADATA} after serialization.")
    return text

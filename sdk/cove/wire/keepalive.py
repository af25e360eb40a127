"""TCP keep-alive for connections that may be silent for hours, at every hop: one whose other end has vanished must not count as open."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

_OPTIONS: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""Clients that vanished are noticed after two minutes."""


def keep_alive(transport: asyncio.Transport) -> None:
    """Have the kernel notice when the client has vanished."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _OPTIONS:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

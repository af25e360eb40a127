"""What every netlink socket has, whoever in the kernel it speaks to. Source: netlink(7)."""

from __future__ import annotations

import socket
from typing import Self

from sandboxd.network.framing import message


class KernelSocket:
    """A socket in the network namespace that the calling thread was in when it was made. One thread at a time."""

    def __init__(self, protocol: int) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.sequence = 0
        """Of the last message that was made; answers bear it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back. Twice is fine."""
        self.socket.close()

    def framed(self, kind: int, flags: int, body: bytes) -> bytes:
        """The next message, whole."""
        self.sequence += 1
        return message(kind, flags, self.sequence, body)

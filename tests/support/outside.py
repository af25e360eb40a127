"""A server that sandboxes reach as they would one on the internet: in a network namespace of its own, with an address that is nobody's."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

SERVER: Final = """
import socket
listener = socket.create_server(("0.0.0.0", 0))
print(listener.getsockname()[1], flush=True)
held = []
while True:
    held.append(listener.accept())
"""
"""Takes every connection and says nothing."""


@contextlib.contextmanager
def outside_server() -> Iterator[tuple[str, int]]:
    """Address and port of the server for the block. Source of the addresses: RFC 5737, TEST-NET-3."""
    name = f"out{secrets.token_hex(3)}"
    first = 4 * secrets.randbelow(63)
    gateway, address = f"203.0.113.{first + 1}", f"203.0.113.{first + 2}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("address", "add", f"{gateway}/30", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "address", "add", f"{address}/30", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "route", "add", "default", "via", gateway)
        with subprocess.Popen(["ip", "netns", "exec", name, sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                yield address, int(server.stdout.readline())
            finally:
                server.kill()
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)

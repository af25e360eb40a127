"""A machine with a public address, one hop behind this one: a namespace that real sandboxes can reach, and nobody else has to."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final, NamedTuple

from sandboxd import kernel
from sandboxd.network import netns
from sandboxd.network.netlink import Netlink, add_address, add_default_route, delete_link, new_veth, set_up

RANGE: Final = IPv4Network("203.0.113.0/24")
"""For documentation: nobody on the internet has it. Source: RFC 5737."""


class Neighbour(NamedTuple):
    """Where it is, and what it is called."""

    address: str
    other: str
    """A second address of it."""
    netns: Path


@contextlib.contextmanager
def neighbour(directory: Path) -> Iterator[Neighbour]:
    """Gone with the block. Two in parallel do not meet, but for one time in 32."""
    host, address, other, *_ = list(list(RANGE.subnets(new_prefix=29))[secrets.randbelow(32)].hosts())
    path, name = directory / "neighbour", f"nb{os.getpid()}"
    with netns.created(path) as (fd, inside), Netlink() as netlink:
        netlink.request(new_veth(name, peer_name="eth0", peer_netns_fd=fd, mtu=1500), set_up(name))
        netlink.request(add_address(netlink.number_of(name), host, 29))
        own = [add_address(inside.number_of("eth0"), one, 29) for one in (address, other)]
        inside.request(*own, set_up("eth0"), add_default_route(host))
    try:
        yield Neighbour(str(address), str(other), path)
    finally:
        with Netlink() as netlink:
            netlink.request(delete_link(name))
        netns.remove(path)


@contextlib.contextmanager
def echoing(where: Neighbour) -> Iterator[int]:
    """A TCP server on all of its addresses that sends back what it gets. Yields: its port."""
    with kernel.in_netns(where.netns):
        listener = socket.create_server(("0.0.0.0", 0))
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed below
            while True:
                connection, _ = listener.accept()
                connection.settimeout(30)
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join()
        for thread in threads:
            thread.join()

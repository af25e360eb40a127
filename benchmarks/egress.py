"""The resolver beside its upstream, and the relay beside a connection without it; on loopback, without sandboxes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from benchmarks.series import MS, Check, Outcome, Series, paired_difference
from benchmarks.stage import Stage, timed
from policies.egress import EgressPolicy, Mode
from sandboxd.egress import EgressServices, EgressSettings
from sandboxd.egress.relay.relayed import Destination
from tests.support import dns_messages as dns
from tests.support.dns_upstream import FakeUpstream
from tests.support.egress_node import FakeNode

SANDBOX: Final = "127.0.0.2"
NAME: Final = "host.example.com"
POLICY: Final = EgressPolicy(mode=Mode.ALLOWLIST, domains=("*.example.com",))
GREETING: Final = b"GET / HTTP/1.1\r\nHost: host.example.com\r\n\r\n"
LAST: Final = b"!"
PIECE: Final = bytes(1 << 20)

AIM_DNS_MS: Final = 1.0
AIM_RELAY_MB_S: Final = 500.0


class Ports(NamedTuple):
    """Of what serves."""

    upstream: int
    dns: int
    relay: int
    origin: int


def run(stage: Stage) -> Outcome:
    with _origin() as origin, _services(stage.directory / "pins", origin) as ports:
        names = [f"name-{number}.example.com" for number in range(200)]
        upstream = [timed(_ask, ports.upstream, name) * MS for name in names]
        fresh = [timed(_ask, ports.dns, name) * MS for name in names]
        _ask(ports.dns, NAME)
        known = [timed(_ask, ports.dns, NAME) * MS for _ in range(200)]
        direct, relayed = ([timed(_greet, port) * MS for _ in range(200)] for port in (ports.origin, ports.relay))
        megabytes = 128 if stage.quick else 1024
        plain, through = (
            [megabytes * 1.048576 / timed(_pour, port, megabytes) for _ in range(1 if stage.quick else 3)] for port in (origin, ports.relay)
        )
    return Outcome(
        [
            Series.of("DNS: upstream asked directly", "ms", upstream),
            Series.of("DNS: a new name, pinned", "ms", fresh),
            Series.of("DNS: a known name", "ms", known),
            Series.of("connection and answer", "ms", direct),
            Series.of("connection and answer through the relay", "ms", relayed),
            Series.of("bytes", "MB/s", plain),
            Series.of("bytes through the relay", "MB/s", through),
        ],
        [
            Check(name="DNS answer - upstream", value=paired_difference(fresh, upstream), relation="<=", aim=AIM_DNS_MS, unit="ms"),
            Check(name="relay", value=Series.of("", "", through).median, relation=">=", aim=AIM_RELAY_MB_S, unit="MB/s"),
        ],
    )


# --- the sandbox's part --------------------------------------------------------------------------------------------------------------


def _ask(port: int, name: str) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind((SANDBOX, 0))
        sock.sendto(dns.question(name), ("127.0.0.1", port))
        if not int.from_bytes(sock.recv(4096)[6:8], "big"):  # answers
            raise RuntimeError(f"no address for {name}")


def _greet(port: int) -> None:
    with contextlib.closing(_connected(port)) as sock:
        sock.sendall(GREETING)
        _expect_answer(sock)


def _pour(port: int, megabytes: int) -> None:
    with contextlib.closing(_connected(port)) as sock:
        head = GREETING[:-2] + b"Content-Length: %d\r\n\r\n" % (megabytes * len(PIECE) + len(LAST))
        sock.sendall(head)
        _expect_answer(sock)
        for _ in range(megabytes):
            sock.sendall(PIECE)
        sock.sendall(LAST)
        _expect_answer(sock)


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), source_address=(SANDBOX, 0))


def _expect_answer(sock: socket.socket) -> None:
    if sock.recv(1) != b"+":
        raise RuntimeError("no answer")


# --- what it meets -------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _origin() -> Iterator[int]:
    """A server that answers each end of a head, and each :data:`LAST`, with a byte."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve() -> None:
        buffer = bytearray(len(PIECE))
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock:
                    while size := sock.recv_into(buffer):
                        if buffer.endswith((b"\r\n\r\n", LAST), 0, size):
                            sock.sendall(b"+")

    thread = threading.Thread(target=serve, name="origin")
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@contextlib.contextmanager
def _services(directory: Path, origin: int) -> Iterator[Ports]:
    """Resolver, relay and a nameserver in an event loop of their own."""
    ready: Future[tuple[Ports, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        node, stop = FakeNode(denied={}), asyncio.Event()
        node.add(SANDBOX, POLICY)

        def answers(query: bytes, by_stream: bool) -> bytes:
            return dns.answer(query, [dns.address(dns.asked_name(query), "127.0.0.1")])

        async with FakeUpstream.serving(answers) as upstream:
            settings = EgressSettings(
                host="127.0.0.1",
                dns_port=0,
                directory=directory,
                nameservers=lambda: [upstream.server],
                destination=lambda _: Destination(IPv4Address("127.0.0.1"), origin),
            )
            async with EgressServices.serving(node, settings) as services:
                ports = Ports(upstream.server.port, services.dns_port, services.relay_port, origin)
                ready.set_result((ports, asyncio.get_running_loop(), stop))
                await stop.wait()

    thread = threading.Thread(target=lambda: uvloop.run(serve()), name="egress")
    thread.start()
    ports, loop, stop = ready.result()
    try:
        yield ports
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()

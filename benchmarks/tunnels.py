"""Servers inside sandboxes through tunnels, beside the same reached from inside, and behind nginx: requests, bytes, idle WebSockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import cove
from benchmarks import load, nginx
from benchmarks.series import Check, Outcome, Series
from benchmarks.stage import Stage, timed

AIM_REQUESTS_S: Final = 8_000.0
AIM_ADDED_MS: Final = 1.5
AIM_MB_S: Final = 500.0
AIM_WEBSOCKET_KIB: Final = 64.0

BUSY: Final = 32
"""Connections that ask at the same time."""

MIB: Final = 2**20

STREAM: Final = """
import socket
listener = socket.create_server(("127.0.0.1", 8001))
while True:
    peer, _ = listener.accept()
    size = int(peer.recv(20)) * 2**20
    block = bytes(2**20)
    for _ in range(size // len(block)):
        peer.sendall(block)
    peer.close()
"""

WEBSOCKETS: Final = """
import asyncio
async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n")
    await reader.read()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", 8080, backlog=1024) as server:
        await server.serve_forever()
asyncio.run(main())
"""

RECEIVE: Final = """
import socket, sys, time
size = int(sys.argv[1]) * 2**20
began = time.perf_counter()
with socket.create_connection(("127.0.0.1", 8001)) as connection:
    connection.sendall(sys.argv[1].encode())
    buffer, left = bytearray(2**20), size
    while left:
        left -= connection.recv_into(buffer)
print(size / 1e6 / (time.perf_counter() - began))
"""

Load = tuple[float, float]
"""Requests per second, median latency in milliseconds."""


def run(stage: Stage) -> Outcome:
    size_mib, rounds = (128, 1) if stage.quick else (1024, 3)
    sandbox = stage.create("sleep", "infinity", cpu=2.0, encrypted_ports=[8000], unencrypted_ports=[8001])
    try:
        for number, source in enumerate((load.SERVER, STREAM, WEBSOCKETS)):
            with sandbox.open(f"/root/server{number}.py", "w") as file:
                file.write(source)
            sandbox.exec("python", f"/root/server{number}.py")
        sandbox.upload(Path(load.__file__), "/root/load.py")
        tunnels = sandbox.tunnels()
        web, raw = tunnels[8000].url.removeprefix("http://").split(":"), tunnels[8001].tcp_socket
        _await_answer((web[0], int(web[1])), load.REQUEST, b"HTTP/1.1 200")
        _await_answer(raw, b"1", bytes(12))
        through = [_load(web[0], int(web[1]), BUSY) for _ in range(rounds)]
        single = [_load(web[0], int(web[1]), 1) for _ in range(rounds)]
        inside = [_load_inside(sandbox, BUSY) for _ in range(rounds)]
        inside_single = [_load_inside(sandbox, 1) for _ in range(rounds)]
        streams = [size_mib * MIB / 1e6 / timed(lambda: _receive(raw, size_mib)) for _ in range(rounds)]
        streams_inside = [float(sandbox.exec("python", "-c", RECEIVE, str(size_mib)).stdout.read()) for _ in range(rounds)]
        memory = _idle_websockets(stage, sandbox, 100 if stage.quick else 1000)
    finally:
        sandbox.terminate()
        sandbox.wait(raise_on_termination=False)
    with nginx.in_front_of(load.SERVER, stage.directory / "nginx", 8000) as port:
        direct = [_load("127.0.0.1", 8000, BUSY) for _ in range(rounds)]
        proxied = [_load("127.0.0.1", port, BUSY) for _ in range(rounds)]
        proxied_single = [_load("127.0.0.1", port, 1) for _ in range(rounds)]
    rates, added = Series.of("", "", [one[0] for one in through]), single[0][1] - inside_single[0][1]
    speed = Series.of(f"{size_mib} MiB through one tunnel", "MB/s", streams)
    return Outcome(
        [
            Series.of(f"requests through a tunnel, {BUSY} connections", "1/s", [one[0] for one in through]),
            Series.of("the same from inside", "1/s", [one[0] for one in inside]),
            Series.of("the same server on the host, directly", "1/s", [one[0] for one in direct]),
            Series.of("the same behind nginx", "1/s", [one[0] for one in proxied]),
            Series.of("latency through a tunnel, 1 connection", "ms", [one[1] for one in single]),
            Series.of("the same from inside", "ms", [one[1] for one in inside_single]),
            Series.of("latency of the host's server behind nginx", "ms", [one[1] for one in proxied_single]),
            speed,
            Series.of("the same from inside", "MB/s", streams_inside),
            Series.of("memory of an idle WebSocket, router", "KiB", [memory[0]]),
            Series.of("memory of an idle WebSocket, node", "KiB", [memory[1]]),
        ],
        [
            Check(name="requests through a tunnel", value=rates.median, relation=">=", aim=AIM_REQUESTS_S, unit="1/s"),
            Check(name="latency a tunnel adds", value=added, relation="<=", aim=AIM_ADDED_MS, unit="ms"),
            Check(name="bytes through a tunnel", value=speed.median, relation=">=", aim=AIM_MB_S, unit="MB/s"),
            Check(name="memory of an idle WebSocket", value=sum(memory), relation="<=", aim=AIM_WEBSOCKET_KIB, unit="KiB"),
        ],
    )


def _load(host: str, port: int, connections: int) -> Load:
    """From the host, by a process of its own."""
    command = [sys.executable, load.__file__, host, str(port), str(connections), "3"]
    return _figures(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def _load_inside(sandbox: cove.Sandbox, connections: int) -> Load:
    process = sandbox.exec("python", "/root/load.py", "127.0.0.1", "8000", str(connections), "3")
    return _figures(process.stdout.read())


def _figures(printed: str) -> Load:
    rate, median_ms, _ = map(float, printed.split())
    return rate, median_ms


def _await_answer(address: tuple[str, int], request: bytes, answer: bytes) -> None:
    """Until the server inside has started."""
    for _ in range(300):
        with socket.create_connection(address) as connection:
            connection.sendall(request)
            if connection.recv(len(answer)) == answer:
                return
        time.sleep(0.1)
    raise RuntimeError("the servers inside do not start")


def _receive(address: tuple[str, int], size_mib: int) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(str(size_mib).encode())
        buffer, left = bytearray(MIB), size_mib * MIB
        while left:
            count = connection.recv_into(buffer)
            if not count:
                raise RuntimeError(f"the stream ended {left} bytes early")
            left -= count


def _idle_websockets(stage: Stage, sandbox: cove.Sandbox, count: int) -> tuple[float, float]:
    """KiB that router and node have more for each open WebSocket."""
    credentials = sandbox.create_connect_token()
    host, port = credentials.url.removeprefix("http://").split(":")
    head = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {credentials.token}\r\nUpgrade: websocket\r\n"
    request = f"{head}Connection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    held = [_websocket(host, int(port), request)]
    before = [_resident_kib(stage.pid(name)) for name in ("router", "sandboxd")]
    held += [_websocket(host, int(port), request) for _ in range(count)]
    after = [_resident_kib(stage.pid(name)) for name in ("router", "sandboxd")]
    for connection in held:
        connection.close()
    return (after[0] - before[0]) / count, (after[1] - before[1]) / count


def _websocket(host: str, port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=30)
    connection.sendall(request)
    if not connection.recv(4096).startswith(b"HTTP/1.1 101"):
        raise RuntimeError("no WebSocket")
    return connection


def _resident_kib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return float(line.split()[1])

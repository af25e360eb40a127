"""A load of HTTP requests over kept connections. Runs as a program of its own, on the host or inside a sandbox: only the standard library.

``python load.py HOST PORT CONNECTIONS SECONDS`` prints requests per second, and median and 95th percentile of the latency in milliseconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

REQUEST = b"GET /index.html HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n"
BODY_BYTES = 1024
"""Of each answer: a small page."""

SERVER = f"""
import asyncio
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/html\\r\\nContent-Length: {BODY_BYTES}\\r\\n\\r\\n" + bytes({BODY_BYTES})
class Page(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER * data.count(b"\\r\\n\\r\\n"))
async def main():
    async with await asyncio.get_running_loop().create_server(Page, "127.0.0.1", 8000, backlog=1024) as server:
        await server.serve_forever()
asyncio.run(main())
"""
"""A static server that costs as little as Python can, so that what is around it shows."""


class Connection(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    def __init__(self, latencies: list[float]) -> None:
        self._latencies = latencies
        self._transport: asyncio.Transport | None = None
        self._received, self._expected, self._began = 0, 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if not self._expected:
            self._expected = data.index(b"\r\n\r\n") + 4 + BODY_BYTES
        if self._received >= self._expected:
            self._latencies.append(time.perf_counter() - self._began)
            self._received = 0
            self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._began = time.perf_counter()
        self._transport.write(REQUEST)


async def main(host: str, port: int, connections: int, seconds: float) -> None:
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: Connection(latencies), host, port) for _ in range(connections)]
    await asyncio.sleep(seconds / 4)  # warm
    latencies.clear()
    await asyncio.sleep(seconds)
    ordered = sorted(latencies)
    print(len(ordered) / seconds, ordered[len(ordered) // 2] * 1e3, ordered[int(len(ordered) * 0.95)] * 1e3)
    for transport, _ in opened:
        transport.abort()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))

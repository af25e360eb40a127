"""HTTP by hand: what is sent is what a test wrote, what comes back is split at its head. And servers that tell what they got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> list[str]:
        """All values."""
        lines = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.strip().decode("latin-1") for key, _, value in lines if key.lower() == name.lower().encode()]

    @property
    def seen(self) -> Seen:
        """What :func:`mirror` saw of the request."""
        fields = json.loads(self.body)
        return Seen(fields["line"], [(name, value) for name, value in fields["fields"]], fields["body"].encode("latin-1"))


class Seen(NamedTuple):
    """A request as it came inside."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(
        self, target: str = "/", headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes = b"", raw: bytes = b""
    ) -> Answer:
        """One request and its answer. ``raw``: more header lines, each with its end."""
        lines = {"Host": self.host, **(headers or {})}
        if body:
            lines["Content-Length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send(head.encode("latin-1") + raw + b"\r\n" + body)
        return await self.answer(method)

    async def head(self) -> bytes:
        return (await self.reader.readuntil(b"\r\n\r\n"))[:-4]

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer, interim ones passed over."""
        head = await self.head()
        while head.split(b" ", 2)[1] in (b"100", b"103"):
            head = await self.head()
        answer = Answer(int(head.split(b" ", 2)[1]), head, b"")
        if method == "HEAD" or answer.status in (101, 204, 304):
            return answer
        if answer.header("Transfer-Encoding") == ["chunked"]:
            return answer._replace(body=await self._chunks())
        if length := answer.header("Content-Length"):
            return answer._replace(body=await self.reader.readexactly(int(length[0])))
        return answer._replace(body=await self.reader.read(-1))

    async def ended(self) -> bool:
        """Whether the other side has closed or broken the connection; waits for it."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def echoed(self) -> bool:
        """Whether what is sent comes back; False where the connection is broken off."""
        try:
            await self.send(b"x")
            return await self.reader.read(1) == b"x"
        except ConnectionError:
            return False

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self.reader.readuntil(b"\r\n"))[:-2], 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return body


async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request with what it was, as JSON; keep the connection."""
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1")
        except asyncio.IncompleteReadError:
            return
        line, *rest = head.split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (one.partition(":") for one in rest)]
        lengths = [int(value) for name, value in fields if name.lower() == "content-length"]
        chunked = any(name.lower() == "transfer-encoding" for name, _ in fields)
        body = await Client(reader, writer, host="")._chunks() if chunked else await reader.readexactly(sum(lengths))
        content = json.dumps({"line": line, "fields": fields, "body": body.decode("latin-1")}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        await writer.drain()

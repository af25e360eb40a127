"""A look into a sandbox whose guest says what it likes: what cannot be seen is not told, and nothing else comes of it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from typing import cast

import pytest

from sandboxd.channel.client import Guest
from sandboxd.channel.fields import ProtocolViolation
from sandboxd.channel.messages import Entry, Stat
from sandboxd.channel.streams import GuestError, StreamCut
from sandboxd.memory import census
from sandboxd.memory.census import take_census
from sandboxd.memory.seen import MAX_CHILDREN, MAX_PORTS, Census, SeenChild, SeenPort

STAT = Stat(0o40555, 0, 0, 0, 0, 1, 1)
HEADING = b"  sl  local_address rem_address   st tx_queue rx_queue\n"
NUMBERS = b" 1 2 2 0 0 0\n"


def stat_of(pid: int, parent: int, name: bytes = b"sh", state: bytes = b"S") -> bytes:
    return b"%d (%s) %s %d" % (pid, name, state, parent) + NUMBERS


def listening(*ports: int) -> bytes:
    return HEADING + b"".join(b"  1: 0100007F:%04X 00000000:0000 0A 0\n" % port for port in ports)


class Stream:
    """What a guest sends of one file."""

    def __init__(self, opened: set[int], content: bytes | Exception) -> None:
        self._opened, self._content = opened, content
        opened.add(id(self))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._content, Exception):
            raise self._content
        for at in range(0, len(self._content), 1000):
            yield self._content[at : at + 1000]

    def close(self) -> None:
        self._opened.discard(id(self))


class FakeGuest:
    """A guest with these files; what is an exception comes in the middle of them, None never comes."""

    def __init__(self, files: dict[bytes, bytes | Exception | None], extra: tuple[bytes, ...] = ()) -> None:
        self.files: dict[bytes, bytes | Exception | None] = {
            **{b"/proc/net/" + name: HEADING for name in (b"tcp", b"tcp6", b"udp", b"udp6")},
            **files,
        }
        self.extra = extra
        self.opened: set[int] = set()

    async def list_directory(self, path: bytes) -> AsyncIterator[list[Entry]]:
        assert path == b"/proc"
        names = [file.split(b"/")[2] for file in self.files if file.endswith(b"/stat")]
        for name in (*names, b"net", b"self", *self.extra):
            yield [Entry(name, STAT)]

    async def read_file(self, path: bytes) -> tuple[Stat, Stream]:
        if path not in self.files:
            raise GuestError(errno.ENOENT, path.decode())
        content = self.files[path]
        if content is None:
            await asyncio.Event().wait()
        return STAT, Stream(self.opened, cast("bytes | Exception", content))

    async def look(self, *started: int) -> Census:
        seen = await take_census(cast(Guest, self), set(started))
        assert not self.opened
        return seen


def procs(*stats: bytes) -> dict[bytes, bytes | Exception | None]:
    return {b"/proc/%d/stat" % int(text.split()[0]): text for text in stats}


async def test_all_but_the_known_ones_are_seen() -> None:
    files = procs(stat_of(1, 0, b"init"), stat_of(2, 1), stat_of(9, 2, b"b"), stat_of(8, 9, b"a"), stat_of(10, 2, b"gone", b"Z"))
    files |= {b"/proc/net/tcp": listening(80, 81), b"/proc/net/tcp6": listening(81)}
    seen = await FakeGuest(files, (b"7", b"0", b"01", b"-1", b"9999999999")).look(2)
    assert seen.children == (SeenChild(pid=8, parent_pid=9, program="a"), SeenChild(pid=9, parent_pid=2, program="b"))
    assert [(port.protocol, port.port) for port in seen.ports or ()] == [("tcp", 80), ("tcp", 81)]


async def test_a_sandbox_without_ipv6_is_seen() -> None:
    guest = FakeGuest({})
    for name in (b"tcp6", b"udp6"):
        del guest.files[b"/proc/net/" + name]
    assert (await guest.look()).ports == ()


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        b"x" * (census.MAX_TABLE_BYTES + 1),
        listening(*range(1, MAX_PORTS + 2)),
        GuestError(errno.EIO, "broken"),
        StreamCut("cut"),
        ProtocolViolation("bad"),
    ],
)
async def test_ports_that_cannot_be_seen_hide_no_processes(content: bytes | Exception) -> None:
    seen = await FakeGuest({**procs(stat_of(9, 1)), b"/proc/net/tcp": content}).look()
    assert seen.ports is None and len(seen.children or ()) == 1


@pytest.mark.parametrize("content", [b"nonsense", b"x" * (census.MAX_STAT_BYTES + 1), StreamCut("cut"), ProtocolViolation("bad")])
async def test_processes_that_cannot_be_seen_hide_no_ports(content: bytes | Exception) -> None:
    seen = await FakeGuest({b"/proc/9/stat": content, b"/proc/net/tcp": listening(80)}).look()
    assert seen.children is None and seen.ports == (SeenPort(protocol="tcp", address="127.0.0.1", port=80),)


async def test_a_process_that_says_to_be_another_is_not_told() -> None:
    assert (await FakeGuest({b"/proc/9/stat": stat_of(10, 1)}).look()).children == ()


async def test_there_is_an_end_to_what_is_listed() -> None:
    most = procs(*(stat_of(pid, 1) for pid in range(2, MAX_CHILDREN + 2)))
    assert len((await FakeGuest(most).look()).children or ()) == MAX_CHILDREN
    assert (await FakeGuest({**most, **procs(stat_of(5000, 1))}).look()).children is None
    assert (await FakeGuest({}, (b"x",) * (census.MAX_LISTED + 1)).look()).children is None


async def test_a_guest_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "LOOK_S", 0.01)
    seen = await FakeGuest({b"/proc/net/tcp": None, b"/proc/9/stat": None}).look()
    assert seen == Census(children=None, ports=None)

"""A look into a running sandbox by its own /proc, through its guest: which processes there are, and what listens. Bounded in every way."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Awaitable, Collection
from typing import Final, TypeVar

import structlog

from sandboxd.channel.client import Guest
from sandboxd.channel.fields import ProtocolViolation
from sandboxd.channel.streams import GuestError, StreamCut
from sandboxd.memory.seen import MAX_CHILDREN, MAX_PORTS, Census, Protocol, SeenChild, SeenPort, parse_sockets, parse_stat
from snapshots.backends.threads import in_thread

log = structlog.get_logger()

T = TypeVar("T")

LOOK_S: Final = 5.0
"""A sandbox of a thousand processes is looked through in a fraction of it; nobody waits longer for what is only told."""

MAX_LISTED: Final = 65_536
MAX_STAT_BYTES: Final = 4_096
MAX_TABLE_BYTES: Final = 4 * 2**20
"""Some 25,000 sockets."""

_INIT_PID: Final = 1
_PID: Final = re.compile(rb"[1-9][0-9]{0,9}")
_TABLES: Final[tuple[tuple[bytes, Protocol], ...]] = (
    (b"/proc/net/tcp", "tcp"),
    (b"/proc/net/tcp6", "tcp"),
    (b"/proc/net/udp", "udp"),
    (b"/proc/net/udp6", "udp"),
)


async def take_census(guest: Guest, started: Collection[int]) -> Census:
    """What is there now. A sandbox that will not be looked into has None for an answer, and no other consequences.

    Args:    started: pids that are known already: of processes started from outside.
    """
    return Census(
        children=await _if_seen("children", _children(guest, started)),
        ports=await _if_seen("ports", _ports(guest)),
    )


async def _if_seen(what: str, looking: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(LOOK_S):
            return await looking
    except (OSError, StreamCut, ProtocolViolation, ValueError) as error:  # what its own time-out raises is an OSError, too
        log.warning("sandbox not seen through", what=what, error=str(error)[:200] or type(error).__name__)
        return None


async def _children(guest: Guest, started: Collection[int]) -> tuple[SeenChild, ...]:
    found: list[SeenChild] = []
    for pid in await _pids(guest):
        if pid == _INIT_PID or pid in started:
            continue
        try:
            child = parse_stat(await _read(guest, b"/proc/%d/stat" % pid, MAX_STAT_BYTES))
        except GuestError:  # it has ended since
            continue
        if child is not None and child.pid == pid:
            found.append(child)
        if len(found) > MAX_CHILDREN:
            raise ValueError(f"more than {MAX_CHILDREN} processes")
    return tuple(sorted(found))


async def _pids(guest: Guest) -> list[int]:
    listed: list[bytes] = []
    async for entries in guest.list_directory(b"/proc"):
        listed += [entry.name for entry in entries]
        if len(listed) > MAX_LISTED:
            raise ValueError(f"more than {MAX_LISTED} names in /proc")
    return [int(name) for name in listed if _PID.fullmatch(name)]


async def _ports(guest: Guest) -> tuple[SeenPort, ...]:
    found: set[SeenPort] = set()
    for path, protocol in _TABLES:
        try:
            table = await _read(guest, path, MAX_TABLE_BYTES)
        except GuestError as error:
            if error.errno != errno.ENOENT:  # there is no IPv6 everywhere
                raise
        else:
            found.update(await in_thread(parse_sockets, table, protocol))
    if len(found) > MAX_PORTS:
        raise ValueError(f"more than {MAX_PORTS} ports")
    return tuple(sorted(found))


async def _read(guest: Guest, path: bytes, most_bytes: int) -> bytes:
    """A whole file. Raises: GuestError. StreamCut. ValueError: it is longer."""
    _, stream = await guest.read_file(path)
    try:
        data = bytearray()
        async for chunk in stream:
            data += chunk
            if len(data) > most_bytes:
                raise ValueError(f"{path.decode()} has more than {most_bytes} bytes")
    finally:
        stream.close()
    return bytes(data)

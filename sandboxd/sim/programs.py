"""The commands of a simulated sandbox. Each is a coroutine over its input and output; none touches the host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol


class Streams(Protocol):
    """What a program has."""

    async def read(self) -> bytes:
        """Some input; empty at its end."""
        ...

    async def write(self, data: bytes, channel: int = 1) -> None: ...


Program = Callable[[list[str], Mapping[str, str], Streams], Awaitable[int]]


async def _true(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    return 0


async def _false(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    return 1


async def _exit(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    return int(arguments[0])


async def _echo(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    await streams.write((" ".join(arguments) + "\n").encode("utf-8", "surrogateescape"))
    return 0


async def _complain(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    await streams.write((" ".join(arguments) + "\n").encode(), channel=2)
    return 1


async def _env(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    await streams.write("".join(f"{key}={value}\n" for key, value in env.items()).encode())
    return 0


async def _cat(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    while data := await streams.read():
        await streams.write(data)
    return 0


async def _sleep(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    await asyncio.sleep(float(arguments[0]))
    return 0


async def _spew(arguments: list[str], env: Mapping[str, str], streams: Streams) -> int:
    """``spew N``: N bytes, so that byte i is i modulo 251."""
    pattern = bytes(index % 251 for index in range(251))
    left, at = int(arguments[0]), 0
    while left:
        size = min(left, 65_536)
        start = at % 251
        await streams.write((pattern * (size // 251 + 2))[start : start + size])
        left -= size
        at += size
    return 0


PROGRAMS: Final[Mapping[str, Program]] = {
    "true": _true,
    "false": _false,
    "exit": _exit,
    "echo": _echo,
    "complain": _complain,
    "env": _env,
    "cat": _cat,
    "sleep": _sleep,
    "spew": _spew,
}

"""The baseline: runsc and the guest without daemon, network or SDK."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from benchmarks.host_processes import cpu_share
from cove.types import SandboxId, new_id
from sandboxd import programs
from sandboxd.channel.client import Guest
from sandboxd.channel.frames import MARKER_BYTES
from sandboxd.channel.link import Fifos
from sandboxd.channel.messages import ProcessExit, ProcessRequest
from tests.support.bare_runsc import BareRunsc

T = TypeVar("T")

COMMAND_S: Final = 60.0
PATH: Final = "/usr/bin:/bin"
SETTLES_S: Final = 1.0
"""Until a program that waits has come to where it waits."""

Commands = tuple[tuple[str, ...], ...]


class _End:
    """A process's sink that waits for its end alone."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def on_output(self, channel: int, offset: int, data: bytes | memoryview) -> None:
        pass

    def on_output_end(self, channel: int, offset: int) -> None:
        pass

    def on_input_taken(self, offset: int) -> None:
        pass

    def on_exit(self, exit_: ProcessExit) -> None:
        self.ended.set()


class RawContainer:
    """One container that runs."""

    def __init__(self, sandbox_id: SandboxId, guest: Guest) -> None:
        self.sandbox_id = sandbox_id
        self._guest = guest

    async def spawn(self, *argv: str) -> None:
        """Run a command to its end."""
        stream, end = await self._start(argv)
        await end.ended.wait()
        self._guest.forget(stream)

    async def begin(self, *argv: str) -> None:
        """Start a command that goes on."""
        await self._start(argv)

    async def _start(self, argv: Sequence[str]) -> tuple[int, _End]:
        end = _End()
        request = ProcessRequest(exec_id=new_id("ex"), argv=[argument.encode() for argument in argv], env={"PATH": PATH}, cwd="/")
        stream, _ = await self._guest.spawn(request, end)
        return stream, end


class RawRunsc:
    """Containers of a runsc root of their own, behind an event loop of their own. Methods return seconds."""

    def __init__(self, bare: BareRunsc, loop: asyncio.AbstractEventLoop) -> None:
        self._bare = bare
        self._loop = loop
        self._stack = contextlib.AsyncExitStack()
        self._standing: RawContainer | None = None
        self._memories: dict[Commands, Path] = {}
        self._marker = secrets.token_bytes(MARKER_BYTES)

    @classmethod
    @contextlib.contextmanager
    def in_directory(cls, directory: Path) -> Iterator[RawRunsc]:
        """Everything made is gone at the end of the block."""
        loop = uvloop.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="raw runsc")
        thread.start()
        with contextlib.ExitStack() as stack:
            stack.callback(loop.close)
            stack.callback(thread.join)
            stack.callback(loop.call_soon_threadsafe, loop.stop)
            bare = BareRunsc.in_directory(directory)
            raw = cls(_wait(loop, bare.__aenter__()), loop)
            stack.callback(lambda: _wait(loop, bare.__aexit__(None, None, None)))
            stack.callback(lambda: _wait(loop, raw._stack.aclose()))
            yield raw

    def create(self) -> float:
        """From ``runsc create`` to the end of the first process. The container is gone afterwards."""
        return _wait(self._loop, self._create())

    def spawn(self, *argv: str) -> float:
        """One process in a container that stands, by its guest."""
        return _wait(self._loop, self._timed(lambda one: one.spawn(*argv)))

    def runsc_exec(self, *argv: str) -> float:
        """One process in a container that stands, by ``runsc exec``."""
        return _wait(self._loop, self._timed(lambda one: self._exec(one, argv)))

    def restore(self, count: int = 1, *, beside: Commands = ()) -> float:
        """``count`` containers at once, from ``runsc create`` and ``runsc restore`` of one memory to the end of the last first process.

        Args: beside: what runs in the memory, but for PID 1.
        """
        return _wait(self._loop, self._restore(count, beside))

    def idle_cpu(self, wait_s: float) -> float:
        """Share of a core that a container takes in which nothing runs but PID 1. Takes ``wait_s``."""
        return _wait(self._loop, self._idle_cpu(wait_s))

    async def _restore(self, count: int, beside: Commands) -> float:
        memory = await self._memory_with(beside)
        answered = asyncio.Barrier(count)

        async def one() -> tuple[float, float]:
            async with self._running(memory) as (begin, container):
                await container.spawn("true")
                end = time.perf_counter()
                await answered.wait()  # what its deletion costs is not the others'
                return begin, end

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one()) for _ in range(count)]
        times = [task.result() for task in tasks]
        return max(end for _, end in times) - min(begin for begin, _ in times)

    async def _memory_with(self, beside: Commands) -> Path:
        """A directory with the memory of a container in which ``beside`` runs; written once."""
        if beside not in self._memories:
            directory = self._bare.options.root.parent / f"memory-{len(self._memories)}"
            ready = self._bare.runtime().ready_checkpoint
            async with self._running() as (_, container), ready(container.sandbox_id, directory) as checkpoint:
                for command in beside:
                    await container.begin(*command)
                await asyncio.sleep(SETTLES_S)
                await checkpoint.pause()
                await checkpoint.write()
                await checkpoint.resume()
            self._memories[beside] = directory
        return self._memories[beside]

    async def _idle_cpu(self, wait_s: float) -> float:
        async with self._running() as (_, container):
            await container.spawn("true")
            await asyncio.sleep(SETTLES_S)
            return await cpu_share(self._bare.sentry_pid(container.sandbox_id), wait_s)

    async def _create(self) -> float:
        async with self._running() as (begin, container):
            await container.spawn("true")
            return time.perf_counter() - begin

    async def _timed(self, work: Any) -> float:
        if self._standing is None:
            _, self._standing = await self._stack.enter_async_context(self._running())
        begin = time.perf_counter()
        await work(self._standing)
        return time.perf_counter() - begin

    async def _exec(self, container: RawContainer, argv: tuple[str, ...]) -> None:
        options = self._bare.options
        command = [str(options.runsc), "--root", str(options.root), "exec", "--env", f"PATH={PATH}", container.sandbox_id, *argv]
        finished = await programs.capture(command, timeout_s=COMMAND_S)
        if finished.code:
            raise RuntimeError(f"runsc exec failed: {finished.stderr.decode(errors='replace')[:1024]}")

    @contextlib.asynccontextmanager
    async def _running(self, memory: Path | None = None) -> AsyncIterator[tuple[float, RawContainer]]:
        """A container that serves, and when its making began; mounts and FIFOs were there before. ``memory``: it goes on from that."""
        runtime = self._bare.runtime()
        container = self._bare.prepare(SandboxId(new_id("sb")))
        fifos = Fifos(container.directory)
        fifos.make()
        fifos.open()
        try:
            begin = time.perf_counter()
            await runtime.create(container, stdin=fifos.to_guest, stdout=fifos.from_guest)
            guest = Guest(fifos, self._marker, violated=_raise, api_opened=lambda stream, peer: stream.close())
            if memory is None:
                await runtime.start(container)
                await guest.start()
            else:
                await runtime.restore(container, memory)
                await guest.reset()
            yield begin, RawContainer(container.sandbox_id, guest)
            guest.close()
            await runtime.delete(container.sandbox_id)
        finally:
            fifos.close()


def _raise(error: Exception) -> None:
    raise error


def _wait(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()

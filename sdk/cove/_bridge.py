"""The one background thread with the one event loop that everything runs on, and the way there from any other thread or loop.

A blocking call costs two thread switches: its coroutine is handed to the loop, and the caller sleeps on a lock until the result is there.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import warnings
from collections.abc import Coroutine
from typing import Any, Final, Generic, TypeVar

from cove import _lifespan
from cove.config import config
from cove.exception import AsyncUsageWarning, ClientClosed, ExecutionError

R = TypeVar("R")

CANCEL_GRACE_S: Final = 5.0
"""How long an interrupted caller waits for its call to be undone."""

EXIT_S: Final = 5.0
"""How long the end of the interpreter waits for connections to be closed."""


class _Call(Generic[R]):
    """A coroutine on its way through the loop."""

    __slots__ = ("_coroutine", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[R] | None = None

    def start(self) -> None:
        """Begin. On the loop, as is everything but :meth:`result`."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """Ask the coroutine to stop."""
        if self._task is not None:
            self._task.cancel()

    def result(self) -> R:
        """What the coroutine returned or raised, once it is done."""
        assert self._task is not None
        if self._task.cancelled():
            raise ClientClosed("The call was cancelled.")
        return self._task.result()

    def _done(self, task: asyncio.Task[R]) -> None:
        """Tell the caller. Not when the program ends: who waits then is a daemon thread, and would only print that it was interrupted."""
        if not _Ending.begun:
            self.wake()

    def wake(self) -> None:
        """Let the caller go on."""
        raise NotImplementedError


class _Ending:
    """Whether the interpreter is about to end."""

    begun = False


class _ThreadCall(_Call[R]):
    """A call that a thread waits for."""

    __slots__ = ("finished",)

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        super().__init__(coroutine)
        self.finished = threading.Lock()
        self.finished.acquire()

    def wake(self) -> None:
        self.finished.release()


class _LoopCall(_Call[R]):
    """A call that a coroutine of another loop waits for."""

    __slots__ = ("_caller", "_loop")

    def __init__(self, coroutine: Coroutine[Any, Any, R], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(coroutine)
        self._loop = loop
        self._caller: asyncio.Future[None] = loop.create_future()

    async def finished(self) -> None:
        """Wait until the call is done. On the caller's loop; may be called again after it was cancelled."""
        if self._caller.cancelled():
            self._caller = self._loop.create_future()
            if self._task is not None and self._task.done():
                return
        await self._caller

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the caller's loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if not self._caller.done():
            self._caller.set_result(None)


class Bridge:
    """The background thread, started by the first call."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._unusable: Exception | None = None
        self._warns: bool | None = None
        os.register_at_fork(after_in_child=self._forked)

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run ``coroutine`` on the background loop and block until it is done. A KeyboardInterrupt meanwhile cancels it.

        Raises:  what ``coroutine`` raises; ExecutionError: in a child after fork, or called from the background loop itself.
        """
        loop = self._ready(coroutine)
        running = asyncio._get_running_loop()
        if running is not None:
            self._check_caller(running, coroutine)
        call = _ThreadCall(coroutine)
        try:
            loop.call_soon_threadsafe(call.start)
            call.finished.acquire()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the call with it
                loop.call_soon_threadsafe(call.cancel)
                call.finished.acquire(timeout=CANCEL_GRACE_S)
            raise
        return call.result()

    async def run_async(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """The same for a coroutine of any loop: cancelling it cancels ``coroutine`` and waits until that is undone."""
        loop = self._ready(coroutine)
        running = asyncio.get_running_loop()
        if running is loop:
            return await coroutine
        call = _LoopCall(coroutine, running)
        loop.call_soon_threadsafe(call.start)
        try:
            await call.finished()
        except asyncio.CancelledError:
            loop.call_soon_threadsafe(call.cancel)
            await call.finished()
            raise
        return call.result()

    def _ready(self, coroutine: Coroutine[Any, Any, object]) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._unusable is not None:
            try:
                self._start()
            except BaseException:
                coroutine.close()
                raise
        assert self._loop is not None
        return self._loop

    def _start(self) -> None:
        with self._starting:
            if self._unusable is not None:
                raise self._unusable
            if self._loop is not None:
                return
            loop = _new_loop()
            self._thread = threading.Thread(target=_serve, args=(loop,), name="cove", daemon=True)
            self._thread.start()
            atexit.register(self._stop)
            self._loop = loop

    def _stop(self) -> None:
        """Close what is open and end the thread; at exit of the interpreter."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or self._unusable is not None:
            return
        self._unusable = ClientClosed("The program ends: cove can no longer be used.")
        _Ending.begun = True
        loop.call_soon_threadsafe(lambda: loop.create_task(_finish(loop)))
        thread.join(EXIT_S)

    def _forked(self) -> None:
        """In a child after fork, where the thread does not exist and gRPC's connections must not be touched."""
        self._starting = threading.Lock()
        if self._loop is not None:
            self._unusable = ExecutionError(
                "cove was used before this process was forked, and its connections do not survive that.",
                remedy='Start children with multiprocessing\'s "spawn" or "forkserver", or use cove only in the child.',
            )

    def _check_caller(self, running: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, object]) -> None:
        if running is self._loop:
            coroutine.close()
            raise ExecutionError("A blocking call was made on cove's own event loop.", remedy="Use its `.aio` twin.")
        if self._warns is None:
            self._warns = bool(config["async_warnings"])
        if self._warns:
            warnings.warn("A blocking cove call holds up the running event loop: use its `.aio` twin.", AsyncUsageWarning, stacklevel=4)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _finish(loop: asyncio.AbstractEventLoop) -> None:
    try:
        async with asyncio.timeout(EXIT_S / 2):
            await _lifespan.close_all()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others)
            await loop.shutdown_asyncgens()
    except TimeoutError:
        pass  # the thread is a daemon: what does not end dies with the process
    finally:
        loop.stop()


BRIDGE: Final = Bridge()
"""The bridge of this process."""

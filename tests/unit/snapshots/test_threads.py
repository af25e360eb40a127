"""Blocking calls under cancellation: nothing is closed under a thread that uses it, nothing opened is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from snapshots.backends.threads import in_thread, opened_in_thread


async def cancel_while_blocked(call: Callable[[Callable[[], None]], Awaitable[object]], *, times: int = 3) -> None:
    """Run ``call(block)`` in a task, cancel it several times while ``block`` blocks in a thread, and then let that go on."""
    blocked, go_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        go_on.wait(10)

    task = asyncio.ensure_future(call(block))
    await asyncio.to_thread(blocked.wait, 10)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_call_ends_after_its_thread() -> None:
    ended = []

    async def call(block: Callable[[], None]) -> None:
        def run() -> None:
            block()
            ended.append(True)

        await in_thread(run)

    await cancel_while_blocked(call)
    assert ended == [True]


async def test_what_a_cancelled_call_raises_is_dropped() -> None:
    async def call(block: Callable[[], None]) -> None:
        def run() -> float:
            block()
            return 1 / 0

        await in_thread(run)

    await cancel_while_blocked(call)


@pytest.mark.parametrize("step", ["opening", "closing"])
async def test_what_was_opened_is_closed_once_whenever_the_cancellation_comes(step: str) -> None:
    calls: list[str] = []

    async def call(block: Callable[[], None]) -> None:
        def run(name: str) -> str:
            if name == step:
                block()
            calls.append(name)
            return name

        async with opened_in_thread(lambda: run("opening"), lambda _: calls.append(run("closing"))):
            calls.append("inside")

    await cancel_while_blocked(call)
    inside = ["inside"] if step == "closing" else []
    assert calls == ["opening", *inside, "closing", "closing"]


async def test_what_could_not_be_opened_is_not_closed() -> None:
    def closing(_: float) -> None:
        raise AssertionError

    with pytest.raises(ZeroDivisionError):
        async with opened_in_thread(lambda: 1 / 0, closing):
            raise AssertionError

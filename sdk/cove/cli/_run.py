"""How commands do their work: on one event loop that ends with them, and that signals end in order.

Modules are imported inside functions: this one is loaded for ``cove --help`` too, and asyncio alone takes a third of that time.
"""

from __future__ import annotations

import signal
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar

import typer

if TYPE_CHECKING:
    from cove.exception import Error

T = TypeVar("T")

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""Signals after which a command cleans up and exits with 128 + n. Ctrl-C is asyncio's: it ends with 130."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the asynchronous part of a command to its end and close its connections.

    Raises:  what ``work`` raises; of several errors at once the first, since a command tells of one.
    """
    import asyncio

    try:
        return asyncio.run(_and_close(work))
    except BaseExceptionGroup as group:
        raise _first(group) from None


def end(failures: Sequence[Error]) -> Never:
    """End a command that did something to many things: tell what went wrong, and exit with 1 if anything did."""
    for failure in failures:
        typer.echo(f"Error: {failure}", err=True)
    raise typer.Exit(1 if failures else 0)


async def _and_close(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    from cove import _lifespan

    received = _cancel_on_signals()
    try:
        return await work
    except asyncio.CancelledError:
        if received:
            raise typer.Exit(128 + received[0]) from None
        raise
    finally:
        await _lifespan.close_all()


def _cancel_on_signals() -> list[int]:
    """Cancel the running task when a signal asks to end; those that came are in the list. What nohup ignores stays ignored."""
    import asyncio

    loop, task, received = asyncio.get_running_loop(), asyncio.current_task(), list[int]()

    def cancel(number: int) -> None:
        received.append(number)
        if task is not None:
            task.cancel()

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, cancel, number)
    return received


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

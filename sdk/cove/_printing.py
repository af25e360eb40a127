"""What the client shows in the terminal on the user's behalf."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator


async def print_output(chunks: AsyncIterator[bytes]) -> None:
    """Write ``chunks`` to ``sys.stdout`` as they come. A slow terminal holds up nothing else."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async for chunk in chunks:
        await asyncio.to_thread(_write, decoder.decode(chunk))
    await asyncio.to_thread(_write, decoder.decode(b"", final=True))


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()


class _Output:
    """Whether somebody asked to see progress."""

    depth = 0
    progress = True


@contextlib.contextmanager
def enable_output(show_progress: bool = True) -> Iterator[None]:
    """Show on the terminal, while the block runs, what long operations have to say.

    Args:    show_progress: False leaves out spinners and bars.
    """
    before = _Output.progress
    _Output.depth += 1
    _Output.progress = show_progress
    try:
        yield
    finally:
        _Output.depth -= 1
        _Output.progress = before


def output_enabled() -> bool:
    """Whether an :func:`enable_output` block is running."""
    return _Output.depth > 0


def progress_enabled() -> bool:
    """Whether spinners and bars are wanted too."""
    return _Output.progress

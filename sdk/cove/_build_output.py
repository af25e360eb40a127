"""What an image build looks like on the terminal, within :func:`cove.enable_output`. Text from builds is cleaned of what terminals obey."""

from __future__ import annotations

import asyncio
import codecs
import re
import sys
import time
from typing import TYPE_CHECKING, Final

from cove._printing import output_enabled, progress_enabled
from cove.wire import image_pb2

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

MAX_LINE_CHARACTERS: Final = 8192
"""A line that gets longer is shown in parts."""

_CONTROL_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")


class BuildOutput:
    """Shows the events of one build. Silent where nobody asked to see anything."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._began_at: float | None = None
        self._console: Console | None = None
        self._status: Status | None = None
        if output_enabled():
            from rich.console import Console  # slow to import

            self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)

    async def show(self, log: image_pb2.ImageBuildLog) -> None:
        """Show one event. A slow terminal holds up nothing else."""
        if self._console is not None:
            await asyncio.to_thread(self._show, log)

    async def finish(self, image_id: str | None) -> None:
        """Show what is left, and the result; None is a failure, of which its error tells."""
        if self._console is not None:
            await asyncio.to_thread(self._finish, image_id)

    def _show(self, log: image_pb2.ImageBuildLog) -> None:
        self._begin()
        if log.status:
            self._flush()
            self._print(f"=> Step {log.layer}: {clean(log.status)}", style="bold")
        self._pending += self._decoder.decode(log.data)
        *lines, self._pending = self._pending.split("\n")
        for line in lines:
            self._print(clean(line))
        while len(self._pending) > MAX_LINE_CHARACTERS:
            self._print(clean(self._pending[:MAX_LINE_CHARACTERS]))
            self._pending = self._pending[MAX_LINE_CHARACTERS:]

    def _begin(self) -> None:
        if self._began_at is not None or self._console is None:
            return
        self._began_at = time.monotonic()
        self._print("Building image", style="bold")
        if progress_enabled() and self._console.is_terminal:
            self._status = self._console.status("Building image")
            self._status.start()

    def _flush(self) -> None:
        """Show a line that has no end yet."""
        if self._pending:
            self._print(clean(self._pending))
            self._pending = ""

    def _finish(self, image_id: str | None) -> None:
        self._flush()
        if self._status is not None:
            self._status.stop()
        if self._began_at is not None and image_id is not None:
            self._print(f"Built image {clean(image_id)} in {time.monotonic() - self._began_at:.2f}s", style="bold")

    def _print(self, line: str, *, style: str = "") -> None:
        from rich.text import Text

        if self._console is not None:
            self._console.print(Text(line, style=style), soft_wrap=True)


def clean(line: str) -> str:
    """``line`` without what moves cursors or changes colours; of what a carriage return would write over, the last is kept."""
    text = _CONTROL_SEQUENCE.sub("", line.rstrip("\r").rpartition("\r")[2])
    return "".join(character if character.isprintable() or character == "\t" else "\N{REPLACEMENT CHARACTER}" for character in text)

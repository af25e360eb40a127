"""The ``cove`` program as somebody at a terminal meets it: on a PTY of its own, which it controls."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import termios
import time
from types import TracebackType
from typing import Final

ANSWER_S: Final = 30.0
"""How long something may take to appear, on a machine that is busy with other tests."""

_START: Final = "import os; os.login_tty(0); from cove.cli import main; main()"
"""In a session of its own, so that the terminal's signals reach it and nobody else."""


class CliTerminal:
    """``cove`` with ``arguments``; the caller is the one who types and reads."""

    def __init__(self, *arguments: str, rows: int = 24, columns: int = 80) -> None:
        self._ours, theirs = os.openpty()
        self._theirs = theirs
        self.resize(rows, columns)
        self.settings = termios.tcgetattr(theirs)
        self.output = b""
        self._seen = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, *arguments],
            env={**os.environ, "TERM": "dumb"},  # programs write no control sequences between what is expected
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )

    def __enter__(self) -> CliTerminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def type(self, text: str) -> None:
        """Type ``text``; ``\\r`` is the return key."""
        os.write(self._ours, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Make the window so large; the foreground process is told."""
        termios.tcsetwinsize(self._theirs, (rows, columns))

    def expect(self, text: str) -> None:
        """Wait until ``text`` appears after what was expected before."""
        deadline = time.monotonic() + ANSWER_S
        while (at := self.output.find(text.encode(), self._seen)) < 0:
            left_s = deadline - time.monotonic()
            if not select.select([self._ours], [], [], max(0.0, left_s))[0]:
                raise AssertionError(f"{text!r} did not appear: {self.output[self._seen :]!r}")
            self.output += os.read(self._ours, 65536)
        self._seen = at + len(text.encode())

    def wait(self) -> int:
        """The exit code, reading what still comes."""
        deadline = time.monotonic() + ANSWER_S
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"it does not end: {self.output[self._seen :]!r}")
            self._read(0.05)
        self._read(0.0)
        return self.process.returncode

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal's modes are those it had at the start."""
        return termios.tcgetattr(self._theirs) == self.settings

    def _read(self, timeout_s: float) -> None:
        while select.select([self._ours], [], [], timeout_s)[0]:
            self.output += os.read(self._ours, 65536)

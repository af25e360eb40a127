"""A runsc that stops where a test says, so that things can be killed in the middle of a step and not near it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

REACHED_S: Final = 20.0

_SCRIPT: Final = """#!/bin/sh
# Holds before or after the commands for which a file <moment>-<command> lies in the directory; <file>.reached tells that it does.
hold() {{
    [ -e "{directory}/$1" ] || return 0
    : > "{directory}/$1.reached"
    while [ -e "{directory}/$1" ]; do sleep 0.02; done
}}
command=none
for word; do
    case "$word" in
        --log=*)
            fifo="${{word#*=}}"
            # Started ahead: it waits here, as runsc would; after that runsc shall not wait, whoever has died meanwhile.
            if [ -p "$fifo" ]; then exec 9> "$fifo" 8<> "$fifo"; fi ;;
    esac
done
for word; do
    case "$word" in create | start | delete | pause | checkpoint | resume | restore) command=$word; break ;; esac
done
hold "before-$command"
# In the place of this shell where nothing comes after it, so that who kills the one kills the other.
[ -e "{directory}/after-$command" ] || exec "{runsc}" "$@"
"{runsc}" "$@"
code=$?
hold "after-$command"
exit $code
"""


class RunscHold:
    """A stand-in for runsc in ``directory``; give :attr:`path` to the node as its ``runsc_path``."""

    def __init__(self, directory: Path, runsc: Path) -> None:
        self._directory = directory
        self.path = directory / "runsc"
        self.path.write_text(_SCRIPT.format(directory=directory, runsc=runsc))
        self.path.chmod(0o755)

    @contextlib.contextmanager
    def holding(self, moment: str) -> Iterator[None]:
        """In the block runsc stops at ``moment``: ``before-`` or ``after-`` and a command, such as ``create``."""
        switch = self._directory / moment
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()
            self._reached(moment).unlink(missing_ok=True)

    def wait_reached(self, moment: str) -> None:
        """Return when runsc stands there."""
        deadline = time.monotonic() + REACHED_S
        while not self._reached(moment).exists():
            assert time.monotonic() < deadline, f"runsc never came to {moment}"
            time.sleep(0.005)

    def _reached(self, moment: str) -> Path:
        return self._directory / f"{moment}.reached"

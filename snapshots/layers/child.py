"""Runs one of this package's programs as a child process: started without a stop of the event loop, killed with its caller or its call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from cove.exception import InternalError
from snapshots.children import ended, memory_file
from snapshots.layers.child_result import MAX_RESULT_BYTES, Result, read_report

_STDERR_CHARACTERS: Final = 500


async def run_child(module: str, arguments: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL) -> Result:
    """Run ``python -m module arguments... RESULT_FD`` to its end.

    Returns: what the child reported.
    Raises:  the error that it reported. InternalError: it ended without a report. On cancellation it is killed first.
    """
    with memory_file("result") as result, memory_file("stderr") as stderr:
        argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-I", "-m", module, *arguments, str(result)]
        env = {"PATH": os.environ.get("PATH", os.defpath)}  # a daemon's environment may have secrets, and a locale of its own
        # Not asyncio's: on uvloop that forks, which stops a large daemon's loop for tens of milliseconds; this is a vfork.
        process = subprocess.Popen(  # noqa: ASYNC220  # see above
            argv, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=[result], env=env
        )
        try:
            await ended(process.pid)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()  # at most the time a killed process needs to die
        report = os.pread(result, MAX_RESULT_BYTES, 0)
        if not report:
            said = os.pread(stderr, MAX_RESULT_BYTES, 0).decode("utf-8", "replace")[-_STDERR_CHARACTERS:]
            raise InternalError(f"{module} ended with status {process.returncode}: {said}", retryable=True)
        return read_report(report, module)

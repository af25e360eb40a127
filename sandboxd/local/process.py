"""A background process that outlives the command which started it, known again by its pid file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from cove.exception import ConflictError, Error

ROTATE_BYTES: Final = 64 * 2**20
"""A log of this size is set aside at the next start; one older one is kept."""
TAIL_LINES: Final = 12
_TAIL_BYTES: Final = 8192
_TAIL_CHARACTERS: Final = 900


class PidFile(msgspec.Struct, frozen=True):
    """Who was started. The start time tells the process from a later one that got its number."""

    pid: int
    start_time: int
    """Clock ticks since boot. Source: proc(5), field 22 of /proc/<pid>/stat."""
    address: str = ""
    """Where it listens, for whoever comes later."""


class Background(msgspec.Struct, frozen=True):
    """One daemon's process, by name."""

    name: str
    """For people: ``router`` or ``node``."""
    module: str
    """What ``python -m`` runs."""
    pid_file: Path
    log_file: Path

    def running(self) -> PidFile | None:
        """The process, if it runs."""
        try:
            known = msgspec.json.decode(self.pid_file.read_bytes(), type=PidFile)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return known if start_time(known.pid) == known.start_time else None

    def start(self, environ: Mapping[str, str], *, address: str = "") -> PidFile:
        """Start it in a session of its own, output to its log. Returns at once.

        Raises:  OSError: a file cannot be made. Error: it ended at once.
        """
        for directory in (self.pid_file.parent, self.log_file.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._rotate()
        log = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        files = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2), *_close_inherited()]
        try:
            pid = os.posix_spawn(sys.executable, [sys.executable, "-m", self.module], environ, file_actions=files, setsid=True)
        finally:
            os.close(log)
            os.close(null)
        started = start_time(pid)
        if started is None:
            raise self.failure("ended at once")
        process = PidFile(pid, started, address)
        self._write(process)
        return process

    async def stop(self, number: signal.Signals, timeout_s: float) -> bool:
        """Signal the process and wait for its end. Returns whether there was one.

        Raises:  ConflictError: it still runs after ``timeout_s``.
        """
        process = self.running()
        if process is None:
            self.pid_file.unlink(missing_ok=True)
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        if not await ended(process.pid, timeout_s):
            raise ConflictError(
                f"The {self.name} (process {process.pid}) did not end within {timeout_s:g} s.", remedy=f"Look into {self.log_file}."
            )
        self.pid_file.unlink(missing_ok=True)
        return True

    def failure(self, what: str) -> Error:
        """An error with the end of the log."""
        return Error(f"The {self.name} {what}:\n{self.log_tail()[-_TAIL_CHARACTERS:]}", remedy=f"The whole log is {self.log_file}.")

    def log_tail(self) -> str:
        """The last lines of the log."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return "\n".join(deque(log.read().decode("utf-8", "replace").splitlines(), TAIL_LINES))
        except FileNotFoundError:
            return "(no log)"

    def _rotate(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log_file.stat().st_size >= ROTATE_BYTES:
                self.log_file.replace(self.log_file.with_suffix(".log.1"))

    def _write(self, process: PidFile) -> None:
        temporary = self.pid_file.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(process))
        temporary.replace(self.pid_file)


def _close_inherited() -> list[tuple[int, int]]:
    """Actions that close what our parent let us inherit: a daemon that held the end of somebody's pipe would make them wait for ever."""
    open_now = [int(link.name) for link in Path("/proc/self/fd").iterdir()]
    return [(os.POSIX_SPAWN_CLOSE, number) for number in open_now if number > 2 and _inheritable(number)]


def _inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False  # the one that listed the directory


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it does not run (zombies do not)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may contain anything
    return None if fields[0] == "Z" else int(fields[19])


async def ended(pid: int, timeout_s: float | None = None) -> bool:
    """Wait for the end of a process, our child or not; whether it came in time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(pidfd, gone.set)
    try:
        async with asyncio.timeout(timeout_s):
            await gone.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    _reap(pid)
    return True


def _reap(pid: int) -> None:
    """Take a dead child's status, so that it does not stay a zombie while we run. Never waits."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

"""Background processes and their pid files: never the wrong process, never a hang, and a log that explains."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cove.exception import ConflictError
from sandboxd.local import process
from sandboxd.local.process import Background, PidFile, ended, start_time

STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Background]:
    """A daemon whose module is whatever the test writes to ``fake_daemon.py``."""
    background = Background("node", "fake_daemon", tmp_path / "run/node.pid", tmp_path / "state/log/node.log")
    yield background
    running = background.running()
    if running:
        os.kill(running.pid, signal.SIGKILL)
        assert await ended(running.pid, 5)


def _environ(tmp_path: Path, source: str) -> dict[str, str]:
    (tmp_path / "fake_daemon.py").write_text(source)
    return {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}


async def _logged(daemon: Background, text: str) -> None:
    """Wait for a line of another process, which sets no Event of ours."""
    while text not in daemon.log_tail():  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)


async def test_started_found_again_and_stopped(daemon: Background, tmp_path: Path) -> None:
    started = daemon.start(_environ(tmp_path, "import signal; print('up', flush=True); signal.pause()"), address="127.0.0.1:1")
    await _logged(daemon, "up")
    again = msgspec.structs.replace(daemon)
    assert again.running() == started
    assert os.getsid(started.pid) == started.pid, "a terminal's Ctrl-C must not reach it"
    assert stat.S_IMODE(daemon.log_file.stat().st_mode) == 0o600
    assert await again.stop(signal.SIGTERM, 5) is True
    assert daemon.running() is None and not daemon.pid_file.exists()
    assert await again.stop(signal.SIGTERM, 5) is False


async def test_it_inherits_no_file_of_its_parent(daemon: Background, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # as a shell's pipeline or make's job server has it
    try:
        started = daemon.start(_environ(tmp_path, "import signal; print('up', flush=True); signal.pause()"))
        await _logged(daemon, "up")
        targets = [link.readlink() for link in Path(f"/proc/{started.pid}/fd").iterdir()]
    finally:
        os.close(reading)
        os.close(writing)
    assert sorted(set(map(str, targets))) == sorted({"/dev/null", str(daemon.log_file)})


async def test_a_number_that_another_process_got_is_not_ours(daemon: Background) -> None:
    daemon.pid_file.parent.mkdir()
    own = start_time(os.getpid())
    assert own is not None
    daemon.pid_file.write_bytes(msgspec.json.encode(PidFile(os.getpid(), own - 1)))
    assert daemon.running() is None
    assert await daemon.stop(signal.SIGKILL, 5) is False, "a stranger must not be signalled"


@pytest.mark.parametrize("content", [b"", b"12", b'{"pid": "x"}', b"\xff", b'{"pid": 4194999, "start_time": 1}'])
async def test_a_damaged_or_old_pid_file_is_no_process(daemon: Background, content: bytes) -> None:
    daemon.pid_file.parent.mkdir()
    daemon.pid_file.write_bytes(content)
    assert daemon.running() is None


async def test_one_that_died_at_once_is_gone_and_its_log_says_why(daemon: Background, tmp_path: Path) -> None:
    started = daemon.start(_environ(tmp_path, "raise SystemExit('no such luck')"))
    assert await ended(started.pid, 5)
    assert daemon.running() is None
    failure = daemon.failure("did not come up")
    assert "no such luck" in failure.cause and str(daemon.log_file) in failure.remedy


async def test_one_that_does_not_end_in_time_is_told_and_left_alone(daemon: Background, tmp_path: Path) -> None:
    started = daemon.start(_environ(tmp_path, STUBBORN))
    await _logged(daemon, "deaf")
    with pytest.raises(ConflictError, match=f"process {started.pid}"):
        await daemon.stop(signal.SIGTERM, 0.05)
    assert daemon.running() == started


async def test_a_zombie_does_not_run(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    await child.wait()
    assert start_time(child.pid) is None
    assert await ended(child.pid, 5)


async def test_a_large_log_is_set_aside_at_the_next_start(daemon: Background, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ROTATE_BYTES", 100)
    daemon.log_file.parent.mkdir(parents=True)
    daemon.log_file.write_text("x" * 100)
    started = daemon.start(_environ(tmp_path, "print('fresh')"))
    assert await ended(started.pid, 5)
    assert daemon.log_tail() == "fresh"
    assert daemon.log_file.with_suffix(".log.1").read_text() == "x" * 100


async def test_the_end_of_a_huge_log_is_read_without_reading_it_all(daemon: Background) -> None:
    daemon.log_file.parent.mkdir(parents=True)
    with daemon.log_file.open("wb") as log:
        log.truncate(2**40)
        log.seek(0, os.SEEK_END)
        log.write(b"\xff\nlast words\n")
    assert daemon.log_tail().endswith("last words")
    assert len(daemon.log_tail()) < 10_000

"""What comes as a secret reaches the process and nothing else: no log, no journal, no database, no argv, no error text."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import cove
from tests.security.probe import inside
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes

PIECE_BYTES: Final = 4 * 2**20


@pytest.fixture
def marker() -> str:
    return f"TOPSECRET{secrets.token_hex(16)}"


def digest_of(name: str) -> str:
    """SHA-256 of an environment variable: shows that it is there without writing it anywhere."""
    import hashlib
    import os

    return hashlib.sha256(os.environ[name].encode()).hexdigest()


def _extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """(from, to) of a file's data; its holes are left out."""
    end = os.fstat(descriptor).st_size
    position = 0
    while position < end:
        try:
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, position


def _contains(path: Path, needle: bytes) -> bool:
    """Whether a regular file has the needle in it; sparse ones are read where they have data."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            for begin, end in _extents(descriptor):
                for at in range(begin, end, PIECE_BYTES):
                    if needle in os.pread(descriptor, min(PIECE_BYTES, end - at) + len(needle), at):
                        return True
        finally:
            os.close(descriptor)
    return False


def _files_with(needle: bytes, top: Path) -> list[Path]:
    found = []
    for directory, _, names in os.walk(top):
        if directory.endswith("/rootfs"):
            continue  # the mounted image; what a sandbox wrote lies in the pool
        for path in (Path(directory, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(path.lstat().st_mode) and _contains(path, needle):
                    found.append(path)
    return found


def _processes_with(needle: bytes) -> list[str]:
    """Command lines and environments of host processes with the needle; this process's own are left out."""
    found = []
    for name in ("cmdline", "environ", "comm", "status"):
        for path in Path("/proc").glob(f"[0-9]*/{name}"):
            with contextlib.suppress(OSError):
                if path.parts[2] != str(os.getpid()) and needle in path.read_bytes():
                    found.append(str(path))
    return found


def _traces(live: LiveCove, marker: str) -> list[object]:
    return [*_files_with(marker.encode(), live.directory), *_processes_with(marker.encode())]


def test_the_search_finds_what_is_there(live: LiveCove, sandboxes: Sandboxes, marker: str) -> None:
    """The search below would be worth nothing if it did not find output, which is stored, or what a sandbox wrote to its disk."""
    sandbox = sandboxes.create()
    sandbox.exec("echo", marker).wait()
    with sandbox.open("/root/written", "w") as file:
        file.write(marker)
        file.flush()
    found = [str(path) for path in _files_with(marker.encode(), live.directory)]
    assert any("stdout" in path for path in found)
    assert len(found) >= 2


def test_secrets_leave_no_trace_while_in_use(live: LiveCove, sandboxes: Sandboxes, marker: str) -> None:
    of_sandbox, of_exec = f"{marker}a", f"{marker}b"
    sandbox = sandboxes.create(
        "sleep", "1000", secrets=[cove.Secret.from_dict({"INLINE": of_sandbox})], env={"PLAIN": of_sandbox}, verbose=True
    )
    assert inside(sandbox, digest_of, "INLINE") == hashlib.sha256(of_sandbox.encode()).hexdigest()
    assert inside(sandbox, digest_of, "PLAIN") == hashlib.sha256(of_sandbox.encode()).hexdigest()
    given = [cove.Secret.from_dict({"EXEC": of_exec})]
    assert inside(sandbox, digest_of, "EXEC", secrets=given) == hashlib.sha256(of_exec.encode()).hexdigest()
    running = sandbox.exec("sleep", "1000", secrets=given)
    assert _traces(live, marker) == []
    assert running.poll() is None


def test_secrets_leave_no_trace_after_the_end(live: LiveCove, sandboxes: Sandboxes, marker: str) -> None:
    sandbox = sandboxes.create("sleep", "1000", secrets=[cove.Secret.from_dict({"INLINE": marker})])
    sandbox.exec("true").wait()
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    assert _traces(live, marker) == []


def test_errors_do_not_tell_secrets(live: LiveCove, sandboxes: Sandboxes, marker: str) -> None:
    given = [cove.Secret.from_dict({"KEY": marker})]
    sandbox = sandboxes.create(secrets=given)
    told = []
    for attempt in (
        lambda: sandbox.exec("/no/such/program", secrets=given),
        lambda: sandbox.exec("true", secrets=given, workdir="/no/such/directory"),
        lambda: sandbox.exec("true", secrets=given, user="nosuchuser"),
        lambda: sandbox.exec("true", env={"A=B": marker}),
        lambda: sandbox.exec("true", env={"KEY": marker + "\0"}),
        lambda: sandboxes.create(secrets=given, env={"A\0": marker}),
        lambda: sandboxes.create(secrets=given, workdir="not absolute"),
        lambda: sandboxes.create(secrets=given, cpu=10_000.0),
    ):
        with pytest.raises(cove.exception.Error) as raised:
            attempt()
        told.append(repr(raised.value) + str(raised.value) + repr(raised.value.__dict__) + repr(raised.value.__cause__))
    assert len(told) == 8
    assert marker not in "".join(told)
    assert _traces(live, marker) == []


def test_the_routers_answers_do_not_tell_secrets(sandboxes: Sandboxes, marker: str) -> None:
    sandbox = sandboxes.create("sleep", "1000", secrets=[cove.Secret.from_dict({"KEY": marker})])
    found = cove.Sandbox.from_id(sandbox.object_id)
    sandbox.exec("sleep", "1000", secrets=[cove.Secret.from_dict({"OTHER": marker})])
    assert marker not in repr(found) + repr(list(sandbox.processes()))


def test_keys_and_state_are_root_s_alone(live: LiveCove, sandboxes: Sandboxes) -> None:
    sandboxes.create().exec("true").wait()
    for top in (live.directory / "state" / "node", live.directory / "state" / "router", live.directory / "run"):
        assert top.stat().st_mode & 0o077 == 0, f"{top} is open to others"
    for name in ("access-key", "bootstrap-token.json", "join-token", "pepper", "router.db"):
        assert (live.directory / "state" / "router" / name).stat().st_mode & 0o077 == 0, name
    for path in (live.directory / "state" / "node").rglob("*.key"):
        assert path.stat().st_mode & 0o077 == 0, path

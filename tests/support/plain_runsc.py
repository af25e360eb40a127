"""One program in one runsc container, for tests of what the container stands on: no guest, no daemon, no control group."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from cove.types import new_id

TIMEOUT_S = 15
CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID")


def run(
    argv: Sequence[str],
    directory: Path,
    *,
    rootfs: Path | None = None,
    netns: Path | None = None,
    prefix: Sequence[str] = (),
    uid: int = 0,
) -> str:
    """Standard output of ``argv``; everything made is removed.

    Args:
        directory: a new one, for bundle and state.
        rootfs: writable; the machine's own root, read-only, when left out.
        netns: network namespace; none but loopback when left out.
        prefix: argv before ``runsc start``.
    """
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(_spec(argv, rootfs, netns, uid)))
    name = new_id("sb")
    runsc = [
        "runsc",
        f"--root={directory / 'root'}",
        f"--network={'sandbox' if netns else 'none'}",
        "--overlay2=none",
        "--ignore-cgroups",
    ]
    output, errors = directory / "output", directory / "errors"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        try:
            _call([*runsc, "create", f"--bundle={directory}", name], stdout, stderr)
            with _sentry(subprocess.check_output([*runsc, "state", name])) as ended:
                _call([*prefix, *runsc, "start", name], stderr, stderr)
                assert ended.poll(TIMEOUT_S * 1000), f"still running after {TIMEOUT_S} s"
        finally:
            _call([*runsc, "delete", "--force", name], stderr, stderr)
    assert output.read_bytes(), errors.read_text()
    return output.read_text()


@contextlib.contextmanager
def _sentry(state: bytes) -> Iterator[select.poll]:
    """Something that can be polled for the container's end; ``runsc wait`` misses ends that come early."""
    pidfd = os.pidfd_open(json.loads(state)["pid"])
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        yield poll
    finally:
        os.close(pidfd)


def _call(argv: Sequence[str], stdout: IO[bytes], stderr: IO[bytes]) -> None:
    status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False).returncode
    assert status == 0, f"{argv} ended with {status}: {Path(stderr.name).read_text()}"


def _spec(argv: Sequence[str], rootfs: Path | None, netns: Path | None, uid: int) -> dict[str, object]:
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": uid, "gid": uid},
            "args": list(argv),
            "env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": str(rootfs or "/"), "readonly": rootfs is None},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [*namespaces, {"type": "network", **({"path": str(netns)} if netns else {})}]},
    }


def install(program: Path, layer: Path) -> Path:
    """Copy ``program`` and the libraries it is linked with to the same places in ``layer``."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in {str(program), *re.findall(r"(/\S+) \(", linked)}:
        copy = layer / path[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return layer / str(program)[1:]

"""Guests to test against: cove-init as a plain process in namespaces of its own, and as PID 1 of a runsc container."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cove.types import SandboxId
from cove.wire.common_pb2 import ImageRef
from sandboxd import settings
from sandboxd.base_image import BaseImages
from sandboxd.channel.link import Fifos
from sandboxd.runsc.spec import build_spec
from sandboxd.runtime import Container
from tests.support.guest_driver import Driver

ROOTFS_VARIABLE: Final = "COVE_TEST_ROOTFS"
"""A Debian root file system with Python, to save building the base image."""


@dataclass
class LaunchedGuest:
    """A guest that was greeted."""

    driver: Driver
    stderr: Path
    contained: bool
    """It is PID 1 of a sandbox, not a process of this machine."""
    _forgiven: int = 0

    def complaints(self) -> list[str]:
        """What PID 1 had to say about itself since the last :meth:`forgive`."""
        return self.stderr.read_text().splitlines()[self._forgiven :]

    def forgive(self, count: int) -> None:
        """A test provoked this many complaints."""
        assert len(self.complaints()) == count, self.complaints()
        self._forgiven += count


@contextlib.contextmanager
def fifos_in(directory: Path) -> Iterator[Fifos]:
    fifos = Fifos(directory)
    fifos.make()
    fifos.open()
    try:
        yield fifos
    finally:
        fifos.close()


def _stdio(fifos: Fifos) -> tuple[int, int]:
    """Descriptors for PID 1: its own open files, since it makes them non-blocking."""
    return os.open(fifos.to_guest_path, os.O_RDWR), os.open(fifos.from_guest_path, os.O_RDWR)


@contextlib.contextmanager
def plain_guest(directory: Path, binary: Path, *, cgroup: bool = True) -> Iterator[LaunchedGuest]:
    """cove-init as PID 1 of new pid and mount namespaces, with the machine's files and a /run of its own; signals are ignored around it.

    Args: cgroup: False denies it the cgroup mount, so that it must do without.
    """
    name = f"cove-guest-{secrets.token_hex(4)}"
    no_cgroup = "mkdir /run/cove && : > /run/cove/.pids && "
    setup = f"mount -t tmpfs tmpfs /run && {'' if cgroup else no_cgroup}exec env --ignore-signal=HUP,USR1 {binary}"
    with fifos_in(directory) as fifos, (directory / "stderr").open("wb") as stderr:
        stdin, stdout = _stdio(fifos)
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh", "-c", setup]
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env={**os.environ, "COVE_GUEST_CGROUP": name})
        os.close(stdin)
        os.close(stdout)
        try:
            driver = Driver(fifos.to_guest, fifos.from_guest)
            driver.greet()
            yield LaunchedGuest(driver, directory / "stderr", contained=False)
        finally:
            process.kill()
            process.wait()
            _remove_group(Path("/sys/fs/cgroup/pids") / name)


def _remove_group(group: Path, within_s: float = 10) -> None:
    """Remove a cgroup whose processes were just killed: they leave it a moment later."""
    deadline = time.monotonic() + within_s
    for path in sorted([group, *group.glob("**/")], reverse=True):
        while path.exists():
            try:
                path.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def rootfs() -> Path:
    """The image under a container: the one named, or sandboxd's own."""
    if named := os.environ.get(ROOTFS_VARIABLE):
        return Path(named)
    return asyncio.run(BaseImages(settings.load().images_dir).ensure(ImageRef(debian="3.11"))).path


class RunscGuests:
    """Containers under one runsc root; what they need is removed with them."""

    def __init__(self, directory: Path, image: Path, binary: Path) -> None:
        self._directory = directory
        self._image = image
        self._binary = binary
        self._cgroup = f"cove-guest-{secrets.token_hex(4)}"
        self._runsc = ["runsc", "--root", str(directory / "root"), "--network=none", "--overlay2=none", "--host-uds=none"]

    @contextlib.contextmanager
    def guest(self, *, memory_bytes: int = 1 << 30, driver: type[Driver] = Driver) -> Iterator[LaunchedGuest]:
        """One started container, greeted."""
        sandbox_id = f"sb-{secrets.token_hex(6)}"
        bundle = self._directory / sandbox_id
        bundle.mkdir(parents=True)
        with self._mounted(bundle) as root, fifos_in(bundle) as fifos:
            self._write_spec(bundle, root, sandbox_id, memory_bytes)
            stdin, stdout = _stdio(fifos)
            with (bundle / "stderr").open("wb") as stderr:
                create = [*self._runsc, "create", "--bundle", str(bundle), sandbox_id]
                subprocess.run(create, stdin=stdin, stdout=stdout, stderr=stderr, check=True)
            os.close(stdin)
            os.close(stdout)
            try:
                self._quiet("start", sandbox_id)
                host = driver(fifos.to_guest, fifos.from_guest)
                host.greet()
                yield LaunchedGuest(host, bundle / "stderr", contained=True)
            finally:
                self._quiet("delete", "--force", sandbox_id)

    def _quiet(self, *arguments: str) -> None:
        subprocess.run([*self._runsc, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=True)

    @contextlib.contextmanager
    def _mounted(self, bundle: Path) -> Iterator[Path]:
        for name in ("upper", "work", "guest/.cove", "root"):
            (bundle / name).mkdir(parents=True)
        (bundle / "guest/.cove/init").write_bytes(self._binary.read_bytes())
        (bundle / "guest/.cove/init").chmod(0o755)
        root = bundle / "root"
        options = f"lowerdir={bundle}/guest:{self._image},upperdir={bundle}/upper,workdir={bundle}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
        try:
            yield root
        finally:
            subprocess.run(["umount", str(root)], check=True)

    def _write_spec(self, bundle: Path, root: Path, sandbox_id: str, memory_bytes: int) -> None:
        container = Container(
            sandbox_id=SandboxId(sandbox_id),
            directory=bundle,
            rootfs=root,
            init="/.cove/init",
            hostname="guest",
            env={},
            resources={"memory": {"limit": memory_bytes}},
            cgroups_path=f"/{self._cgroup}/{sandbox_id}",
            netns=None,
        )
        (bundle / "config.json").write_text(json.dumps(build_spec(container)))

    def clean(self) -> None:
        """Remove the cgroups that runsc left."""
        for hierarchy in Path("/sys/fs/cgroup").iterdir():
            _remove_group(hierarchy / self._cgroup)

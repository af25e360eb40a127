"""Network namespaces that outlive the thread that made them: bind-mounted on files, one a sandbox. Source: network_namespaces(7)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sandboxd import kernel
from sandboxd.network.netlink import Netlink, set_up

_IPV6_SWITCHES: Final = tuple(Path("/proc/sys/net/ipv6/conf", scope, "disable_ipv6") for scope in ("all", "default"))


@contextlib.contextmanager
def created(path: Path) -> Iterator[tuple[int, Netlink]]:
    """Make the namespace at ``path``: no IPv6, loopback up.

    Yields:  a descriptor of it and a socket in it, both good for the block.
    Raises:  FileExistsError: ``path`` is there already. OSError.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.ExitStack() as stack:
        with kernel.new_netns() as itself:
            kernel.mount(str(itself), path, flags=kernel.MountFlag.BIND)
            for switch in _IPV6_SWITCHES:
                if switch.exists():
                    switch.write_text("1")
            inside = stack.enter_context(Netlink())
        inside.request(set_up("lo"))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        yield fd, inside


def remove(path: Path) -> None:
    """Forget the namespace at ``path``; it ends when no process is in it any more. Idempotent; whole or half-made. Raises: OSError."""
    kernel.unmount_all(path, kernel.UmountFlag.DETACH)
    path.unlink(missing_ok=True)


def names(directory: Path) -> Iterator[str]:
    """Names in ``directory`` with a namespace, or with what is left of one."""
    yield from (entry.path.name for entry in kernel.mounts_below(directory))
    yield from (entry.name for entry in directory.iterdir())

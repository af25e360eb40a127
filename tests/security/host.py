"""What the host has that no sandbox may find: files with a marker, addresses, listening sockets, processes."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.support import neighbour
from tests.support.live_cove import LiveCove

MARKER_FILE_BYTES: Final = 4099
"""An unusual size: a search reads only files of this one."""

_LISTEN: Final = "0A"


class MarkedHost(msgspec.Struct, frozen=True):
    """Files on the host whose names and contents carry ``marker``."""

    marker: str
    paths: tuple[str, ...]


@contextlib.contextmanager
def marked(directories: Sequence[Path]) -> Iterator[MarkedHost]:
    """A marker file in each directory while the block runs."""
    marker = f"cove-marker-{secrets.token_hex(12)}"
    content = (marker + "\n").ljust(MARKER_FILE_BYTES, ".")
    paths = [directory / marker for directory in directories if directory.is_dir()]
    try:
        for path in paths:
            path.write_text(content)
            path.chmod(0o666)
        yield MarkedHost(marker, tuple(map(str, paths)))
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def addresses() -> list[str]:
    """Every address of this machine, of links to sandboxes too, without scopes; not of tests' neighbours, which come and go."""
    listed = subprocess.run(["ip", "-j", "address"], check=True, capture_output=True).stdout
    found = [info["local"] for link in json.loads(listed) for info in link.get("addr_info", ()) if "local" in info]
    kept = {address for address in map(ipaddress.ip_address, found) if not address.is_link_local and address not in neighbour.RANGE}
    return sorted(map(str, kept))


def cove_pids(live: LiveCove) -> list[int]:
    """Both daemons and every sentry and gofer of the instance."""
    daemons = [live.pid("router"), live.pid("sandboxd")]
    return daemons + [pid for pid in _pids() if str(live.directory) in _command_line(pid) and pid not in daemons]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return ""


def tcp_ports(pid: int) -> set[int]:
    """TCP ports that a process listens on. Source: proc(5), /proc/net/tcp."""
    inodes = _socket_inodes(pid)
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    return inodes


def unix_sockets() -> list[str]:
    """Named and abstract (``@name``) Unix sockets of the host. Source: proc(5), /proc/net/unix."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return sorted({fields[7] for fields in map(str.split, lines) if len(fields) > 7})

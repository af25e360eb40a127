"""Are the node's addresses free, and if not, whose are they?"""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Final, NamedTuple

from cove.exception import ConflictError
from sandboxd.settings import NodeSettings

_LISTEN: Final = "0A"
"""State of a listening socket. Source: proc(5), /proc/net/tcp; linux/tcp_states.h."""


class Owner(NamedTuple):
    pid: int
    command: str

    @property
    def is_node(self) -> bool:
        """Whether it is a node daemon of cove."""
        return "-m sandboxd" in self.command


async def check_addresses(settings: NodeSettings, *, starting: bool) -> str:
    facts = []
    for field, address in (("grpc_address", settings.grpc_address), ("http_address", settings.http_address)):
        host, _, port = address.rpartition(":")
        if await asyncio.to_thread(_free, host.strip("[]"), int(port)):
            facts.append(f"{address} free")
            continue
        owner = await asyncio.to_thread(find_owner, int(port))
        if owner is None or starting or not owner.is_node:
            whom = f"process {owner.pid} ({owner.command[:60]})" if owner else "another process"
            remedy = "Stop the other cove first: cove down." if owner and owner.is_node else f"Stop it, or set another {field}."
            raise ConflictError(f"{address} is taken by {whom}.", remedy=remedy)
        facts.append(f"{address} served by cove")
    return ", ".join(facts)


def _free(host: str, port: int) -> bool:
    """Whether the address can be bound. Raises: ConflictError: it is not this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # With SO_REUSEADDR two sockets may bind as long as none listens; only listening tells.
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise ConflictError(f"{host}:{port} cannot be bound: {error.strerror}.", remedy="Set an address that this machine has.") from error
    return True


def find_owner(port: int) -> Owner | None:
    """The process that listens on a TCP port; None if nobody does, or it cannot be seen."""
    links = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for directory in Path("/proc").glob("[0-9]*") if links else ():
        try:
            if any(str(fd.readlink()) in links for fd in (directory / "fd").iterdir()):
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                return Owner(int(directory.name), command)
        except OSError:
            continue  # it ended, or is not ours to look at
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes

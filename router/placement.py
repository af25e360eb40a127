"""Which nodes may take a sandbox, best first. Pure: the same nodes and request give the same answer.

The node has the last word (it admits or refuses), so this needs neither locks nor exact numbers. Nodes are ordered by how full they
would be, in coarse steps; within a step by a hash of sandbox and node, so that many routers, or many creates between two reports, do
not all pick the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from cove.exception import InvalidError, ResourceExhaustedError
from cove.types import NodeId, SandboxId
from policies.images import in_order
from router.db.records import Capacity

MAX_CANDIDATES: Final = 8
"""Nodes worth asking for one sandbox: if so many refuse, the picture is wrong, not unlucky."""

LOAD_STEPS: Final = 16


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """What placement knows of a node."""

    node_id: NodeId
    usable: bool
    """Healthy and not draining."""
    capacity: Capacity
    reserved: Capacity
    """Requests of sandboxes on it, also of those just sent there."""
    debian_pythons: frozenset[str]
    runsc_version: str = ""
    runsc_builds: frozenset[str] = frozenset()
    """Ids of builds of gVisor: their version, a dash, 16 hexadecimal digits."""
    proxies: frozenset[str] = frozenset()


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the memory is that a sandbox goes on from."""

    node_id: NodeId
    """Where it was taken."""
    is_stored: bool
    """Whether the store has memory and files, too."""
    runsc_version: str
    runsc_build: str = ""
    """What it can be restored by; empty: any build of that version."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox needs of a node."""

    sandbox_id: SandboxId
    request: Capacity
    debian_python: str = ""
    """Python of the default image; empty where the image is another."""
    proxy: str = ""
    """Proxy that its TCP leaves through; empty: none."""
    only_node: NodeId | None = None
    """Where the image's files are and the store does not have them yet; None: anywhere."""
    origin: Origin | None = None
    """None: it begins afresh."""


def candidates(nodes: Iterable[NodeView], demand: Demand) -> list[NodeView]:
    """Nodes that have room for ``demand``, at most 8, best first.

    Raises:
        InvalidError: no node could take it even when empty.
        ResourceExhaustedError: none can now.
    """
    everyone = list(nodes) if demand.origin is None else _restorers(nodes, demand.origin)
    steps: dict[int, list[NodeView]] = {}
    for node in everyone:
        if node.usable and _suits(node, demand) and _has_room(node, demand.request):
            steps.setdefault(_load(node, demand.request), []).append(node)
    if not steps:
        raise _why_none(everyone, demand)
    best: list[NodeView] = []
    # Hashing is the costly part: done only for the steps that are needed.
    for step in sorted(steps):
        best += sorted(steps[step], key=lambda node: _spread(node, demand))
        if len(best) >= MAX_CANDIDATES:
            break
    return best[:MAX_CANDIDATES]


def _restorers(nodes: Iterable[NodeView], origin: Origin) -> list[NodeView]:
    """The node that has the memory, if it is usable; else all of its kind.

    Raises:  ResourceExhaustedError: there is none.
    """
    everyone = list(nodes)
    home = [node for node in everyone if node.node_id == origin.node_id and node.usable]
    if not home and not origin.is_stored:
        raise ResourceExhaustedError(
            f"The snapshot is still on the node {origin.node_id} alone, which does not answer or is draining.",
            remedy="Try again when `cove status` shows it healthy.",
        )
    alike = home or [node for node in everyone if _has_build(node, origin)]
    if not alike:
        raise ResourceExhaustedError(
            f"No node has the gVisor that the snapshot was taken with, {origin.runsc_build or origin.runsc_version}.",
            remedy="Install it on a node; `cove status` shows what there is.",
            retryable=False,
        )
    return alike


def _has_build(node: NodeView, origin: Origin) -> bool:
    if origin.runsc_build:
        return origin.runsc_build in node.runsc_builds
    return origin.runsc_version in {node.runsc_version, *(build.rpartition("-")[0] for build in node.runsc_builds)}


def _suits(node: NodeView, demand: Demand) -> bool:
    """Whether it has what the sandbox is made of, however full it is."""
    if demand.proxy and demand.proxy not in node.proxies:
        return False
    if demand.only_node is not None and node.node_id != demand.only_node:
        return False
    return not demand.debian_python or demand.debian_python in node.debian_pythons


def _has_room(node: NodeView, request: Capacity) -> bool:
    """In plain numbers: this runs for every node and every create."""
    capacity, reserved = node.capacity, node.reserved
    return (
        capacity.cpu_millis >= reserved.cpu_millis + request.cpu_millis
        and capacity.memory_bytes >= reserved.memory_bytes + request.memory_bytes
    )


def _load(node: NodeView, request: Capacity) -> int:
    """How full the node's scarcer resource would be, in sixteenths."""
    cpu = (node.reserved.cpu_millis + request.cpu_millis) / (node.capacity.cpu_millis or 1)
    memory = (node.reserved.memory_bytes + request.memory_bytes) / (node.capacity.memory_bytes or 1)
    return int(max(cpu, memory) * LOAD_STEPS)


def _spread(node: NodeView, demand: Demand) -> bytes:
    return hashlib.blake2b(f"{demand.sandbox_id}\0{node.node_id}".encode(), digest_size=8).digest()


def _why_none(everyone: Sequence[NodeView], demand: Demand) -> InvalidError | ResourceExhaustedError:
    suitable = [node for node in everyone if _suits(node, demand)]
    if suitable and not any(node.capacity.covers(demand.request) for node in suitable):
        return _too_large(suitable, demand)
    return _exhausted(everyone, suitable, [node for node in suitable if node.usable], demand)


def _too_large(nodes: Sequence[NodeView], demand: Demand) -> InvalidError:
    largest = max(nodes, key=lambda node: (node.capacity.cpu_millis, node.capacity.memory_bytes)).capacity
    return InvalidError(
        f"The sandbox requests {_text(demand.request)}; the largest node has {_text(largest)}.",
        remedy="Request less, or add a larger node.",
        context={"field": "resources"},
    )


def _exhausted(
    everyone: Sequence[NodeView], suitable: Sequence[NodeView], usable: Sequence[NodeView], demand: Demand
) -> ResourceExhaustedError:
    if not everyone:
        return ResourceExhaustedError("No node has joined yet.", remedy="Start one: `cove up`.")
    if demand.proxy and not any(demand.proxy in node.proxies for node in everyone):
        return ResourceExhaustedError(
            f"No node has the proxy {demand.proxy!r}.", remedy="Its operator configures it in the node's settings."
        )
    if not suitable and demand.only_node is not None:
        return ResourceExhaustedError(
            "The image's files are still on the node that made it, which is gone.", remedy="Build the image again.", retryable=True
        )
    if not suitable:
        return no_such_python(demand.debian_python, {python for node in everyone for python in node.debian_pythons})
    if not usable:
        return ResourceExhaustedError("No node is healthy.", remedy="See `cove status`.")
    return ResourceExhaustedError(
        f"No node has {_text(demand.request)} free.", remedy="Terminate sandboxes, request less, or try again later."
    )


def no_such_python(python: str, offered: Iterable[str]) -> ResourceExhaustedError:
    """What is said of a default image that nobody has."""
    return ResourceExhaustedError(
        f"No node has a default image with Python {python}.", remedy=f"There are: {', '.join(in_order(offered)) or 'none'}."
    )


def _text(amount: Capacity) -> str:
    return f"{amount.cpu_millis / 1000:g} cores and {amount.memory_bytes / 2**20:g} MiB"

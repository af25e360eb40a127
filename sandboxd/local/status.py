"""What ``cove status`` finds."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cove.exception import ConnectionError, Error
from cove.wire.control_pb2 import NodeInfo
from sandboxd.local.control import connected
from sandboxd.local.installation import Installation


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One node, as the router knows it."""

    node_id: str
    state: str
    """``healthy``, ``draining`` or ``unreachable``."""
    sandboxes: int
    spares: int
    """Containers booted ahead."""
    last_seen_at: float
    """Unix seconds."""
    version: str
    runsc_version: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What runs on this machine, and what its router knows."""

    up: bool
    """Whether router and node both work."""
    instance: str
    address: str
    router_pid: int | None
    node_pid: int | None
    version: str = ""
    nodes: tuple[NodeStatus, ...] = ()
    tunnel_ca: str = ""
    """Path of the certificate that clients of TLS tunnels are to trust, where the router has made its own; empty: it has not."""
    problem: str = ""
    """Why the router could not be asked."""


async def find_status(installation: Installation) -> Status:
    """Never raises for something that is merely down."""
    router, node = installation.router.running(), installation.node.running()
    found = Status(
        up=False,
        instance=installation.settings.instance,
        address=installation.address,
        router_pid=router.pid if router else None,
        node_pid=node.pid if node else None,
        tunnel_ca=_tunnel_ca(installation.settings.state_dir / "router"),
    )
    try:
        async with connected(installation.address, installation.bootstrap_credentials()) as control:
            version, nodes = (await control.hello()).server_version, [_node(info) for info in await control.nodes()]
    except ConnectionError:
        return msgspec.structs.replace(found, problem=f"No router answers at {installation.address}. `cove up` starts one.")
    except Error as error:
        return msgspec.structs.replace(found, problem=str(error))
    own = installation.node_id()
    healthy = node is not None and any(info.node_id == own and info.state == "healthy" for info in nodes)
    return msgspec.structs.replace(found, up=healthy, version=version, nodes=tuple(nodes))


def _tunnel_ca(router_dir: Path) -> str:
    """The newest: the one before was for another domain, or for none. Only root may look."""
    try:
        found = sorted(router_dir.glob("ingress-ca*.pem"), key=lambda path: path.stat().st_mtime)
    except OSError:
        return ""
    return str(found[-1]) if found else ""


def _node(info: NodeInfo) -> NodeStatus:
    return NodeStatus(
        node_id=info.node_id,
        state=info.state,
        sandboxes=info.sandboxes,
        spares=info.spares,
        last_seen_at=info.last_seen_at,
        version=info.version,
        runsc_version=info.runsc_version,
    )

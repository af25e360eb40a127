"""Settings of the node daemon. Read once, in ``__main__``; everything else gets the struct passed.

Layers: defaults < ``/etc/cove/node.toml`` (or ``COVE_NODE_CONFIG``) < ``COVE_NODE_*`` and the shared ``COVE_*_DIR`` < flags.
"""

from __future__ import annotations

import ipaddress
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from cove._settings import instance_name, load_service
from sandboxd.egress.dns.nameservers import HostNameservers, parse_server
from sandboxd.egress.dns.upstream import Server
from sandboxd.egress.relay.proxies import Proxy, parse_url

MIB: Final = 2**20
GIB: Final = 2**30

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Nameserver = Annotated[str, msgspec.Meta(pattern=r"^[0-9.]{7,15}(:[0-9]{1,5})?$")]
ProxyName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Address = Annotated[str, msgspec.Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]

GUEST_BUILD: Final = Path(__file__).parent / f"guest/target/{platform.machine()}-unknown-linux-gnu/release/cove-init"
"""Where ``make guest`` leaves it."""


def _installed_runsc() -> Path:
    """gVisor's own release goes to /usr/local/bin, Debian's package to /usr/bin; the former is newer where both are."""
    local = Path("/usr/local/bin/runsc")
    return local if local.exists() else Path("/usr/bin/runsc")


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One proxy. Its text form leaves the URL out, which may have credentials."""

    url: str
    """``socks5://[user:password@]host[:port]`` or ``http://…`` (CONNECT); user and password percent-encoded."""

    def __post_init__(self) -> None:
        parse_url(self.url)

    def __repr__(self) -> str:
        return f"ProxySettings({parse_url(self.url)})"


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator can set on a node; :func:`load` reads it."""

    instance: str = ""
    """Tells several coves on one machine apart: directories, tables and interfaces carry it. Empty: the main one."""

    state_dir: Path = Path("/var/lib/cove")
    """What must survive a reboot: journal, spools, the storage pool, keys. Root's alone."""

    run_dir: Path = Path("/run/cove")
    """What need not survive one: pipes, bundles, pid files."""

    cache_dir: Path = Path("/var/cache/cove")
    """What can be made again: base images. Shared by all instances."""

    grpc_address: Address = "127.0.0.1:7710"
    """Where the node API and the data plane listen, host:port; port 0 lets the kernel choose."""

    http_address: Address = "127.0.0.1:7711"
    """Where bulk transfers listen, host:port; port 0 lets the kernel choose."""

    advertised_grpc_address: Address | None = None
    """host:port that clients and the router use for the node; the bound one when left out."""

    advertised_http_url: str | None = None
    """Base URL of the bulk transfers for clients; ``http://`` and the bound address when left out."""

    router_address: Address = "127.0.0.1:7700"
    """The router to register with."""

    join_token_path: Path | None = None
    """File with the token that lets a node join; :attr:`join_token_file` has the default for one machine."""

    runsc_path: Path = msgspec.field(default_factory=_installed_runsc)
    """The gVisor runtime."""

    guest_path: Path = GUEST_BUILD
    """The static ``cove-init`` that becomes PID 1 of every sandbox."""

    runsc_platform: Literal["systrap", "kvm", "ptrace"] = "systrap"
    """How the sentry intercepts system calls. systrap needs nothing of the host; kvm is faster on bare metal."""

    spool_head_bytes: NotNegative = 64 * MIB
    """First bytes of each output stream that are always kept."""

    spool_tail_bytes: NotNegative = 192 * MIB
    """Last bytes of each output stream that are kept; what lies between head and tail is dropped and counted."""

    record_retention_s: NotNegative = 3600
    """How long the record and the output of a stopped sandbox can still be read."""

    cpu_capacity_millis: NotNegative = 0
    """Thousandths of cores that sandboxes may request together; 0 = all the machine's."""

    memory_capacity_bytes: NotNegative = 0
    """Memory that sandboxes may request together; 0 = the machine's less ``memory_reserve_bytes``."""

    memory_reserve_bytes: NotNegative = 512 * MIB
    """Memory kept for the machine itself and for cove, so that sandboxes at their limits do not starve the daemons."""

    pool_bytes: NotNegative = 0
    """Size of the storage pool that holds writable layers; 0 = most of what is free when the pool is first made."""

    allow_private_networks: bool = False
    """Whether sandboxes with a network may reach private address ranges. Host and metadata stay denied either way."""

    network_exceptions: list[str] = msgspec.field(default_factory=list)
    """IPv4 ranges that sandboxes' policies may allow although they are private, link-local or reserved: an organisation's mirror, say.
    The host and other sandboxes stay denied."""

    spare_networks: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 8
    """Networks laid ahead for sandboxes to come. A burst of more than that finds the rest made while it waits, 4 ms each."""

    warm_memory_bytes: NotNegative | None = None
    """Memory for containers booted ahead, 24 MiB each: sandboxes like those created lately then start in milliseconds. They take nothing
    from what sandboxes may reserve. A 32nd of the memory for sandboxes when left out; 0: there are none."""

    max_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2048
    """Most connections of one sandbox at a time, those just closed included: the machine's table of them is finite."""

    network_bytes_per_s: NotNegative = 0
    """Bandwidth of one sandbox in each direction; 0 = no bound. What exceeds it is dropped, which TCP adapts to."""

    network_pool: str = "10.200.0.0/16"
    """IPv4 range whose /30s become the sandboxes' links; nothing else on the machine may use it."""

    nameservers: list[Nameserver] = msgspec.field(default_factory=list)
    """Those that the sandboxes' resolver asks, ``address`` or ``address:port``; empty: the machine's own, of its resolv.conf."""

    proxies: dict[ProxyName, ProxySettings] = msgspec.field(default_factory=dict)
    """Proxies that sandboxes may be created with, by name: a table ``[proxies.NAME]`` of the file for each."""

    tarball_dirs: list[Path] = msgspec.field(default_factory=list)
    """Directories whose rootfs tarballs clients may name as images; empty: ``<state_dir>/tarballs``. Not ``/``: a tarball is a file of the
    host that its reader gets to see whole."""

    bases_dir: Path | None = None
    """Directory of tarballs ``debian-3.12.tar.zst``: default images to take as they are instead of building them here from Debian's
    packages. Versions of Python that Debian does not have become available that way."""

    max_sandboxes: Annotated[int, msgspec.Meta(ge=1, le=16_000)] = 1000
    """Most sandboxes at a time: file descriptors, links and processes are finite before cpu and memory requests are."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""

    def __post_init__(self) -> None:
        for text in self.network_exceptions:
            ipaddress.IPv4Network(text)
        for text in self.nameservers:
            parse_server(text)
        network = ipaddress.IPv4Network(self.network_pool)
        if network.num_addresses < 4 * (self.max_sandboxes + 1):
            raise ValueError(f"network_pool {network} has not max_sandboxes + 1 = {self.max_sandboxes + 1} times four addresses")

    @property
    def name(self) -> str:
        """``cove`` or ``cove-<instance>``: the prefix of everything this node makes in the kernel."""
        return instance_name(self.instance)

    @property
    def nameserver_source(self) -> Callable[[], Sequence[Server]]:
        """``nameservers`` as the resolver wants them: asked for each question."""
        if not self.nameservers:
            return HostNameservers()
        servers = [parse_server(text) for text in self.nameservers]
        return lambda: servers

    @property
    def proxy_targets(self) -> dict[str, Proxy]:
        """``proxies`` as the relay wants them."""
        return {name: parse_url(proxy.url) for name, proxy in self.proxies.items()}

    @property
    def node_dir(self) -> Path:
        """The node's own part of the state directory; the router has another."""
        return self.state_dir / "node"

    @property
    def node_id_path(self) -> Path:
        """Holds the node's id from its first start on."""
        return self.node_dir / "node-id"

    @property
    def router_key_path(self) -> Path:
        """Holds the public key of the router that the node registered with last."""
        return self.node_dir / "router-key"

    @property
    def images_dir(self) -> Path:
        """Unpacked base images, shared by all instances."""
        return self.cache_dir / "images"

    @property
    def join_token_file(self) -> Path:
        """``join_token_path``, or where the router of the same machine leaves it."""
        return self.join_token_path or self.state_dir / "router" / "join-token"


def load(flags: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None) -> NodeSettings:
    """The node's settings from file, environment and ``flags``; see :func:`cove._settings.load_service`.

    Raises:  InvalidError: an unknown key or a wrong value, named with its layer.
    """
    return load_service(NodeSettings, service="node", flags=flags, environ=environ)

"""Settings of the router. Read once, in ``__main__``; everything else gets the struct passed.

Layers: defaults < ``/etc/cove/router.toml`` (or ``COVE_ROUTER_CONFIG``) < ``COVE_ROUTER_*`` and the shared ``COVE_*_DIR`` < flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec

from cove._settings import load_service
from router.images.default_images import DefaultImages
from snapshots.registry.settings import RegistrySettings
from snapshots.settings import StoreSettings

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Address = Annotated[str, msgspec.Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator can set on a router; :func:`load` reads it."""

    instance: str = ""
    """Tells several coves on one machine apart. Empty: the main one."""

    state_dir: Path = Path("/var/lib/cove")
    """What must survive a reboot; the router's part is :attr:`router_dir`."""

    grpc_address: Address = "127.0.0.1:7700"
    """Where the control plane and the proxied data plane listen, host:port; port 0 lets the kernel choose."""

    http_address: Address = "127.0.0.1:7701"
    """Where proxied bulk transfers, ``/metrics`` and ``/healthz`` listen, host:port; port 0 lets the kernel choose."""

    advertised_grpc_address: Address | None = None
    """host:port that clients use for the proxied data plane; the bound one when left out."""

    advertised_http_url: str | None = None
    """Base URL that clients use for proxied bulk transfers; ``http://`` and the bound address when left out."""

    data_plane: Literal["direct", "proxy"] = "direct"
    """Whether clients are sent to the nodes or, where they cannot reach those, through this router."""

    workspace: Name = "main"
    """Workspace of the first token. Tokens belong to one workspace and see nothing of others."""

    environment: Name = "main"
    """Environment of calls that name none."""

    access_lifetime_s: Positive = 900
    """How long a data-plane token opens its sandbox. A leaked one dies soon; clients renew without notice."""

    max_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=2**31)] = 86_400
    """Longest lifetime a sandbox may ask for: one day, the documented maximum."""

    report_interval_s: Seconds = 2.0
    """How often nodes send a heartbeat. News does not wait for it."""

    node_unreachable_after_s: Seconds = 7.0
    """A node silent for this long gets no new sandboxes: three heartbeats and some."""

    node_lost_after_s: Seconds = 120.0
    """The sandboxes of a node silent for this long are given up: longer than a reboot of the daemon, shorter than patience."""

    node_call_timeout_s: Seconds = 10.0
    """How long a call to a node may take. Nodes admit before they do the work, so this bounds a network, not a boot."""

    create_grace_s: Seconds = 30.0
    """Age from which a pending sandbox that its node does not know counts as lost; above ``node_call_timeout_s``."""

    expiry_grace_s: Seconds = 60.0
    """A sandbox this far beyond its lifetime whose node is silent is ended without waiting for ``node_lost_after_s``."""

    reconcile_interval_s: Seconds = 2.0
    """How often the reconciler compares what is with what shall be."""

    audit_interval_s: Seconds = 60.0
    """How often each node is asked for everything it has, should a report have been lost."""

    stopped_retention_s: Seconds = 7 * 86_400.0
    """How long records of stopped sandboxes can be read and listed."""

    idempotency_retention_s: Seconds = 86_400.0
    """How long a repeated create gets the first one's answer: longer than any client retries."""

    store_url: str = ""
    """Where layers and files of builds are kept: ``file:///directory`` or ``s3://bucket/prefix``; empty: ``store`` below the router's
    directory. More about S3, its endpoint and credentials, belongs into the table ``[store]`` of the file."""

    store: StoreSettings | None = None
    """The same in full; see ``snapshots.settings.StoreSettings``."""

    registry: RegistrySettings = RegistrySettings()
    """How image registries are reached: mirrors, those without TLS, time-outs."""

    default_images: DefaultImages = DefaultImages()
    """Images for ``debian_slim`` that come from a registry."""

    loopback_registries: bool = False
    """Whether clients may name registries on the router's own machine (``localhost:5000``) that ``registry`` does not list. Clients who are
    not the machine's masters could knock on its services that way."""

    build_timeout_s: Positive = 3600
    """How long the steps of one layer of an image may take."""

    terminal_idle_s: Seconds = 3600.0
    """A web terminal without a page, or without a byte to or from one, is hung up after this long: somebody has left a door open."""

    terminal_lifetime_s: Seconds = 12 * 3600.0
    """A web terminal is hung up after this long in any case: a working day and some."""
    ingress_domain: Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$")] | None = None
    """Domain below which every tunnel has a name; all its names lead to this machine. None: tunnels are on loopback addresses."""

    ingress_certificate: Path | None = None
    """PEM file with a certificate (chain) for ``*.<ingress_domain>``, read again when it changes. None: the local CA makes one."""

    ingress_key: Path | None = None
    """PEM file with its private key."""

    ingress_tls_address: Address = "0.0.0.0:443"
    """Where TLS connections to the names below ``ingress_domain`` arrive, host:port; port 0 lets the kernel choose."""

    ingress_tls_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    """The port that clients use for them, where something in front of the router leads another one here. 0: the bound one."""

    ingress_tcp_host: str = "0.0.0.0"
    """Address on which ports without TLS are bound with a domain."""

    ingress_tcp_ports: tuple[PortNumber, PortNumber] = (20_000, 29_999)
    """First and last of those ports: what a firewall must let in."""

    ingress_max_connections: Positive = 10_000
    """Connections to sandboxes' ports that the edge holds at a time; each takes two descriptors here and some 30 KiB."""

    ingress_max_connections_per_sandbox: Positive = 2_000
    """The same into one sandbox, so that none can take them all."""

    max_concurrent_calls: Positive = 20_000
    """gRPC calls in progress, long polls and proxied streams included; more are refused."""

    shutdown_grace_s: Seconds = 10.0
    """How long calls in progress may take to finish at SIGTERM."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""

    def __post_init__(self) -> None:
        if self.create_grace_s <= self.node_call_timeout_s:
            raise ValueError("create_grace_s is not above node_call_timeout_s")
        if self.node_unreachable_after_s <= self.report_interval_s:
            raise ValueError("node_unreachable_after_s is not above report_interval_s")
        if self.node_lost_after_s <= self.node_unreachable_after_s:
            raise ValueError("node_lost_after_s is not above node_unreachable_after_s")
        if bool(self.ingress_certificate) != bool(self.ingress_key):
            raise ValueError("ingress_certificate and ingress_key come together")
        if self.ingress_tcp_ports[0] > self.ingress_tcp_ports[1]:
            raise ValueError("ingress_tcp_ports ends before it begins")
        if self.store and self.store_url:
            raise ValueError("store_url and the table [store] both say where the store is")
        if self.data_plane == "proxy":
            _check_reachable("grpc_address", self.grpc_address, self.advertised_grpc_address)
            _check_reachable("http_address", self.http_address, self.advertised_http_url)

    @property
    def store_settings(self) -> StoreSettings:
        """Where the store is."""
        return self.store or StoreSettings(url=self.store_url or f"file://{quote(str(self.router_dir.resolve() / 'store'))}")

    @property
    def router_dir(self) -> Path:
        """The router's own part of the state directory."""
        return self.state_dir / "router"


def _check_reachable(field: str, bound: str, advertised: str | None) -> None:
    """Raises:  ValueError: clients would be sent to an address that is none."""
    if advertised is None and bound.rpartition(":")[0] in ("0.0.0.0", "[::]"):
        raise ValueError(f"{field} {bound} is no address for clients; set what is advertised, too")


def load(flags: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None) -> RouterSettings:
    """The router's settings from file, environment and ``flags``; see :func:`cove._settings.load_service`.

    Raises:  InvalidError: an unknown key or a wrong value, named with its layer.
    """
    return load_service(RouterSettings, service="router", flags=flags, environ=environ)

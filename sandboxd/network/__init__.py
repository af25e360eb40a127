"""Networks of sandboxes: a namespace, a veth link and a place in the packet filter each."""

from sandboxd.network.manager import NetworkManager, NetworkOptions, SandboxNetwork, claim_service, service_address
from sandboxd.network.resolvers import resolv_conf

__all__ = [
    "NetworkManager",
    "NetworkOptions",
    "SandboxNetwork",
    "claim_service",
    "resolv_conf",
    "service_address",
]

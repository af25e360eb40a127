"""Networks of sandboxes: a namespace, a veth link and a place in the packet filter each."""

from sandboxd.network.manager import NetworkManager, NetworkOptions, SandboxNetwork
from sandboxd.network.resolvers import host_nameservers, resolv_conf

__all__ = ["NetworkManager", "NetworkOptions", "SandboxNetwork", "host_nameservers", "resolv_conf"]

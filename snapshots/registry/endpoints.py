"""Where the images of a registry are: its mirrors, then itself; and which URLs may be followed from there. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
from yarl import URL

from cove.exception import ServiceError
from snapshots.registry.reference import DOCKER_HUB, is_loopback, split_port
from snapshots.registry.settings import RegistrySettings, check_base_url

_HOSTS: Final = {DOCKER_HUB: "registry-1.docker.io"}
"""Registries whose API is at another host than their name says."""
MAX_URL: Final = 16_384
"""Characters. Signed URLs of object stores have up to a few thousand."""


class Endpoint(msgspec.Struct, frozen=True):
    """One place to ask for the images of a registry."""

    base: URL
    is_mirror: bool
    may_have_credentials: bool

    def url(self, path: str) -> URL:
        """``path`` begins below ``/v2/`` and needs no quoting, but for the colon of digests."""
        return self.base.joinpath("v2", *path.split("/"), encoded=True) if path else self.base / "v2" / ""

    @property
    def shown(self) -> str:
        """For errors and logs."""
        return shown(self.base)


def endpoints(registry: str, settings: RegistrySettings) -> tuple[Endpoint, ...]:
    """In the order to try them; the last one is the registry itself.

    Loopback registries are spoken to without TLS unless their port is 443: images there never cross a wire.
    """
    mirrors = [Endpoint(check_base_url(url), True, False) for url in settings.registry_mirrors.get(registry, ())]
    return (*mirrors, origin(registry, settings))


def origin(registry: str, settings: RegistrySettings) -> Endpoint:
    """The registry itself. Credentials go to it over TLS or loopback only."""
    loopback = is_loopback(registry)
    plain = (loopback and split_port(registry)[1] != "443") or registry in settings.insecure_registries
    scheme = "http" if plain else "https"
    return Endpoint(URL(f"{scheme}://{_HOSTS.get(registry, registry)}"), False, not plain or loopback)


def follow(current: URL, location: str, what: str) -> URL:
    """The absolute URL of a ``Location`` header received from ``current``.

    Raises:  ServiceError: it is malformed, leads from TLS to plain HTTP, or from another machine to this one's loopback.
    """
    target = _join(current, location)
    if (
        target is None
        or target.scheme not in ("http", "https")
        or not target.host
        or target.user is not None
        or target.password is not None
    ):
        raise ServiceError(f"The {what} of {shown(current)} leads to a malformed URL.", retryable=False)
    if current.scheme == "https" and target.scheme != "https":
        raise ServiceError(f"The {what} of {shown(current)} leads from TLS to plain HTTP at {shown(target)}.", retryable=False)
    if _is_loopback(target) and not _is_loopback(current):
        raise ServiceError(f"The {what} of {shown(current)} leads to this machine's loopback.", retryable=False)
    return target


def shown(url: URL) -> str:
    """Host and port for errors and logs: paths and queries may be signed, and so secrets."""
    return url.host_port_subcomponent or ""


def same_origin(one: URL, other: URL) -> bool:
    """Whether both are the same scheme, host and port: what decides if credentials for one may go to the other."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _is_loopback(url: URL) -> bool:
    return is_loopback(url.host_port_subcomponent or "")


def _join(current: URL, location: str) -> URL | None:
    """Signed URLs must stay as they are: nothing is quoted anew."""
    if not location or len(location) > MAX_URL:
        return None
    try:
        target = current.join(URL(location, encoded=True)).with_fragment(None)
        return None if target.port is None else target  # asking for the port has host and port parsed
    except ValueError:
        return None

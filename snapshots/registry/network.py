"""The HTTP session of registry clients: the machine's proxies and certificates, no cookies, no netrc, and no way to its own loopback.

Registries are named by users, so a name that resolves to a loopback or link-local address (this machine's services, a cloud's metadata)
is refused, unless the user wrote it as a loopback address or the operator named it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import Iterable
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from cove.exception import InvalidError, PermissionDeniedError
from snapshots.registry.endpoints import MAX_URL
from snapshots.registry.reference import is_loopback, split_port
from snapshots.registry.settings import RegistrySettings

CONNECTIONS_PER_HOST: Final = 16
READ_BUFFER_BYTES: Final = 1 << 20
"""Large, for fewer and larger chunks; blobs are hashed as they come."""
USER_AGENT: Final = "cove"


class Network:
    """One session, and the proxy for each URL. ``async with``; shared by any number of clients of one event loop."""

    def __init__(self, settings: RegistrySettings, *, resolver: AbstractResolver | None = None) -> None:
        """Reads proxies and certificates from the environment now: variables as ``HTTPS_PROXY``, ``NO_PROXY`` and ``SSL_CERT_FILE``.

        Args:    resolver: in the place of the machine's.
        Raises:  InvalidError: a proxy's URL cannot be used.
        """
        self._proxies = _environment_proxies()
        urls = [*(url for urls in settings.registry_mirrors.values() for url in urls), settings.aws_sts_endpoint, settings.aws_ecr_endpoint]
        named = [url.host for url in (*map(URL, urls), *self._proxies.values())]
        insecure = [URL(f"http://{registry}").host for registry in settings.insecure_registries]
        timeout = aiohttp.ClientTimeout(
            total=None, connect=None, sock_connect=settings.connect_timeout_s, sock_read=settings.idle_timeout_s
        )
        # trust_env would do for proxies, but would also send what the daemon's own ~/.netrc has to the hosts that users name.
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=ssl.create_default_context(),
                resolver=GuardedResolver({host.lower() for host in (*named, *insecure) if host}, resolver),
                limit=0,
                limit_per_host=CONNECTIONS_PER_HOST,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=timeout,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=MAX_URL,
            max_field_size=MAX_URL,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    async def __aenter__(self) -> Network:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.session.close()

    def proxy(self, url: URL) -> URL | None:
        """The proxy that the environment has for ``url``."""
        host = url.host or ""
        if is_loopback(url.host_port_subcomponent or "") or urllib.request.proxy_bypass(f"{host}:{url.port}"):
            return None
        return self._proxies.get(url.scheme) or self._proxies.get("all")


class RefusedAddressError(OSError):
    """A name has no address that it may have."""


class GuardedResolver(AbstractResolver):
    """Resolves names as the machine does, but not to itself. Literal addresses do not come here."""

    def __init__(self, trusted: Iterable[str], inner: AbstractResolver | None = None) -> None:
        """``trusted``: names that may have any address."""
        self._trusted = frozenset(trusted)
        self._inner = inner or ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises:  RefusedAddressError: no address is left."""
        found = await self._inner.resolve(host, port, family)
        if is_loopback(host) or host.lower() in self._trusted:
            return found
        allowed = [result for result in found if _is_elsewhere(result["host"])]
        if not allowed:
            raise RefusedAddressError(f"{host} is this machine or its link")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def _environment_proxies() -> dict[str, URL]:
    """Scheme, or ``all``, to proxy. Errors do not repeat the URL: it may hold a password."""
    found = {}
    for scheme, text in urllib.request.getproxies().items():
        if scheme not in ("http", "https", "all"):
            continue
        try:
            url = URL(text if "://" in text else f"http://{text}")
        except ValueError:
            url = URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise InvalidError(
                f"{scheme}_proxy in the environment is not the URL of an HTTP proxy.", remedy="Write it as http://host:port."
            )
        found[scheme] = url
    return found


def check_elsewhere(registry: str, settings: RegistrySettings, *, loopback: bool) -> None:
    """Pass unless ``registry`` (normalised) is written as an address of this machine or its link. Names are judged when they are resolved.

    Args:    loopback: whether loopback addresses may be named all the same.
    Raises:  PermissionDeniedError: it is, and the operator has not named it.
    """
    if registry in settings.insecure_registries or (loopback and is_loopback(registry)):
        return
    host = split_port(registry)[0].strip("[]")
    try:
        allowed = not is_loopback(registry) and _is_elsewhere(host)
    except ValueError:
        allowed = True  # a name
    if not allowed:
        raise PermissionDeniedError(
            f"The registry {registry} is the server's own machine or its link.",
            remedy="An operator can allow it: `loopback_registries`, or `insecure_registries` in the router's settings.",
        )


def _is_elsewhere(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    parsed = mapped or parsed
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast)

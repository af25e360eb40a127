"""TLS for a domain: one port for all entrances, told apart by SNI; certificates are read again when their files change."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast
from weakref import WeakKeyDictionary

import structlog
from cryptography import x509

from cove.exception import InvalidError
from router.db.ingress import EntranceKind, EntranceRecord
from router.ingress.local_ca import LocalCa
from router.ingress.tls import H2, HTTP1, from_files, from_pem

RELOAD_S: Final = 30.0
"""How often the files are looked at."""

log = structlog.get_logger(__name__)


class DomainTls:
    """The contexts of the shared port.

    Args:
        certificate, key: PEM files for ``*.domain``; both None: the local CA makes one.
        directory: where that is kept.
        find: the entrance that a host name means.
    """

    def __init__(
        self, domain: str, certificate: Path | None, key: Path | None, directory: Path, find: Callable[[str], EntranceRecord | None]
    ) -> None:
        self._files = (certificate, key) if certificate and key else None
        self._find = find
        self._meant: WeakKeyDictionary[ssl.SSLObject, EntranceRecord] = WeakKeyDictionary()
        self._pem = b""
        if self._files is None:
            authority = LocalCa(directory, f"ingress-ca-{domain}", [x509.DNSName(domain)])
            self._pem = authority.issue([x509.DNSName(f"*.{domain}")])
        self._stamp = self._look()
        self._http1, self._h2 = self._load()
        self.shared = self._load()[0]
        """For the listener. A handshake goes on with one of the others, which are as new as the files."""
        self.shared.sni_callback = self._choose

    def entrance(self, transport: asyncio.Transport) -> EntranceRecord | None:
        """Where the client of an accepted connection wants to go."""
        return self._meant.get(transport.get_extra_info("ssl_object"))

    async def watch(self) -> None:
        """Read the files again when they have changed, for ever. Files that are no good leave everything as it is."""
        while True:
            await asyncio.sleep(RELOAD_S)
            self.reload()

    def reload(self) -> None:
        """Look at the files once."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        try:
            self._http1, self._h2 = self._load()
        except InvalidError as error:
            log.error("certificate not taken", cause=error.cause)
        else:
            self._stamp = stamp
            log.info("certificate taken")

    def _look(self) -> tuple[object, ...]:
        """What changes when the files do."""
        try:
            return tuple((found.st_mtime_ns, found.st_ino, found.st_size) for found in (path.stat() for path in self._files or ()))
        except OSError:
            return ()

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Contexts that agree on HTTP/1.1, and on HTTP/2. Raises: InvalidError."""
        contexts = tuple(from_files(*self._files) if self._files else from_pem(self._pem) for _ in range(2))
        for context, protocols in zip(contexts, (HTTP1, H2), strict=True):
            context.set_alpn_protocols(protocols)
        return contexts[0], contexts[1]

    def _choose(self, handshake: ssl.SSLSocket | ssl.SSLObject, host: str | None, context: ssl.SSLContext) -> None:
        entrance = self._find(host) if host else None
        if entrance is not None:
            self._meant[cast(ssl.SSLObject, handshake)] = entrance  # asyncio has no SSLSockets
        handshake.context = self._h2 if entrance is not None and entrance.kind is EntranceKind.H2 else self._http1


class SniDoor(asyncio.Protocol):
    """A client's connection to the shared port, until it is known where it wants to go.

    Args: factory: makes the protocol for an entrance, or for none.
    """

    def __init__(self, tls: DomainTls, factory: Callable[[EntranceRecord | None], asyncio.Protocol]) -> None:
        self._tls, self._factory = tls, factory

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        accepted = cast(asyncio.Transport, transport)
        protocol = self._factory(self._tls.entrance(accepted))
        accepted.set_protocol(protocol)
        protocol.connection_made(accepted)

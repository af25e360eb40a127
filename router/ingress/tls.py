"""TLS of the edge: contexts from certificates in files or of the local CA, and which entrance a client means."""

from __future__ import annotations

import ipaddress
import os
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509

from cove.exception import InvalidError
from router.db.ingress import EntranceKind, EntranceRecord
from router.ingress.layout import loopback_address
from router.ingress.local_ca import LOOPBACK, LocalCa

H2: Final = ["h2"]
HTTP1: Final = ["http/1.1"]


def from_pem(pem: bytes) -> ssl.SSLContext:
    """A context for servers with a key and a certificate (chain). Raises: ssl.SSLError: they are none, or do not belong together."""
    # The ssl module reads files only; this one is never on a disk.
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context = _new_context()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def from_files(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context from PEM files. Raises: InvalidError: they cannot be used."""
    context = _new_context()
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidError(
            f"{certificate} and {key} cannot be used: {error}.",
            remedy="ingress_certificate and ingress_key name PEM files that belong together.",
        ) from error
    return context


class LoopbackTls:
    """Contexts for entrances on loopback addresses, each with a certificate of its own."""

    def __init__(self, directory: Path) -> None:
        self._ca = LocalCa(directory, "ingress-ca", LOOPBACK)

    def context(self, entrance: EntranceRecord) -> ssl.SSLContext:
        """For one entrance."""
        address = x509.IPAddress(ipaddress.IPv4Address(loopback_address(entrance.name)))
        context = from_pem(self._ca.issue([address, x509.DNSName("localhost")]))
        context.set_alpn_protocols(H2 if entrance.kind is EntranceKind.H2 else HTTP1)
        return context


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation lets a client cost the edge a handshake per message.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context

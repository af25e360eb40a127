"""A certificate authority of this router's own, for TLS where nobody has given it certificates. Clients that trust it trust it for little:
it can only vouch for loopback addresses, or for the one domain.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cove.exception import InvalidError
from router.secret_files import read_or_create

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 825
"""Apple's programs take nothing that is valid for longer. Leaves are made anew at every start."""

LOOPBACK: Final = (x509.IPAddress(ipaddress.IPv4Network("127.0.0.0/8")), x509.DNSName("localhost"))


class LocalCa:
    """The authority.

    Args:
        directory: where key and certificate are kept, made at the first start.
        permitted: all that it may vouch for. Part of the files' names: another range is another authority.
    """

    def __init__(self, directory: Path, name: str, permitted: Sequence[x509.GeneralName]) -> None:
        key = load_pem_private_key(read_or_create(directory / f"{name}.key", _new_key), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidError(
                f"{directory / name}.key is no key of the local CA.", remedy="Remove it and its certificate; both are made anew."
            )
        self._key = key
        self.path = directory / f"{name}.pem"
        """The certificate that clients are to trust."""
        self._certificate = x509.load_pem_x509_certificate(read_or_create(self.path, lambda: _self_signed(key, permitted)))

    def issue(self, names: Sequence[x509.GeneralName]) -> bytes:
        """A fresh key and a certificate for ``names``, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder("cove tunnel", self._certificate.subject, key.public_key(), LEAF_DAYS)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())
        return _pem(key) + certificate.public_bytes(Encoding.PEM)


def _self_signed(key: ec.EllipticCurvePrivateKey, permitted: Sequence[x509.GeneralName]) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cove local CA")])
    builder = _builder("cove local CA", name, key.public_key(), CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.NameConstraints(permitted_subtrees=list(permitted), excluded_subtrees=None), critical=True)
    builder = builder.add_extension(_signs_certificates(), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _signs_certificates() -> x509.KeyUsage:
    usages = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(**dict.fromkeys((*usages, "encipher_only", "decipher_only"), False), key_cert_sign=True, crl_sign=True)


def _new_key() -> bytes:
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

"""A real OCI registry, Debian's docker-registry, as a child of the tests; and images made for it by umoci and skopeo."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import jwt
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROGRAMS: Final = ("docker-registry", "skopeo", "umoci")
USERNAME: Final = "tester"
PASSWORD: Final = "secret-password"
_HTPASSWD: Final = "$2b$04$H8KARAWenafcUhigvrdHYOr5O1jXbHS9kbaqg1sgZ7I8.IGvdM06y"
"""bcrypt of :data:`PASSWORD`, of the lowest cost."""
START_S: Final = 10.0
SERVICE: Final = "test-registry"
ISSUER: Final = "test-issuer"


def require_programs() -> None:
    """Skip where they are missing, with the reason; in CI, which has them all, fail."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must be able to run this test, but {', '.join(missing)} is missing", pytrace=False)
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


class RegistryServer(msgspec.Struct, frozen=True):
    """A running one."""

    address: str
    """``127.0.0.1:port``, as it stands in references."""
    storage: Path
    log: Path

    def blob_file(self, digest: str) -> Path:
        """Where it keeps a blob, for tests that damage one."""
        digits = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"


@contextmanager
def registry_server(directory: Path, *, auth: Mapping[str, Any] | None = None) -> Iterator[RegistryServer]:
    """Start a registry with its files below ``directory``; ``auth`` as in its configuration."""
    require_programs()
    storage, log, config = directory / "storage", directory / "log", directory / "config.yml"
    storage.mkdir(parents=True)
    config.write_text(
        json.dumps(  # which is YAML, too
            {
                "version": "0.1",
                "log": {"level": "info", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
                "http": {"addr": "127.0.0.1:0"},
                **({"auth": auth} if auth else {}),
            }
        )
    )
    with log.open("wb") as output:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield RegistryServer(_address(process, log), storage, log)
    finally:
        process.terminate()
        process.wait()


def htpasswd(directory: Path) -> dict[str, Any]:
    """Basic authentication for :data:`USERNAME`."""
    file = directory / "htpasswd"
    file.write_text(f"{USERNAME}:{_HTPASSWD}\n")
    return {"htpasswd": {"realm": "test", "path": str(file)}}


class TokenIssuer:
    """Signs the bearer tokens that a registry with :meth:`auth` takes."""

    def __init__(self, directory: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate(self._key)
        self._bundle = directory / "tokens.pem"
        self._bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def auth(self, realm: str) -> dict[str, Any]:
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(self._bundle)}}

    def token(self, scopes: list[str], lifetime_s: float = 300.0) -> str:
        """One that allows ``scopes``, each ``repository:name:action,action``."""
        now_s = time.time()
        access = [
            dict(zip(("type", "name", "actions"), (*scope.split(":")[:2], scope.split(":")[2].split(",")), strict=True)) for scope in scopes
        ]
        claims = {"iss": ISSUER, "aud": SERVICE, "sub": "", "iat": int(now_s), "nbf": int(now_s) - 60, "exp": int(now_s + lifetime_s)}
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        headers = {"x5c": [base64.b64encode(der).decode()]}
        return jwt.encode({**claims, "jti": "1", "access": access}, self._key, algorithm="ES256", headers=headers)


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while (match := re.search(r"listening on (127\.0\.0\.1:[0-9]+)", log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
    return match[1]


def skopeo(*arguments: str) -> str:
    """Run it against registries without TLS. Returns its output."""
    command, *rest = arguments
    sides = {"copy": ("--src-tls-verify=false", "--dest-tls-verify=false"), "inspect": ("--tls-verify=false",)}
    return _run("skopeo", "--insecure-policy", command, *sides[command], *rest)


class OciLayout:
    """A directory of images in OCI's layout, made by umoci."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        _run("umoci", "init", "--layout", str(directory))

    def image(self, tag: str, layers: list[dict[str, bytes]], *, architecture: str = "amd64", env: str = "") -> str:
        """Add an image, a layer for each of ``layers`` (file name to content). Returns where skopeo finds it."""
        name, bundle = f"{self.directory}:{tag}", self.directory.parent / f"bundle-{tag}"
        _run("umoci", "new", "--image", name)
        _run("umoci", "config", "--image", name, "--architecture", architecture, *(("--config.env", env) if env else ()))
        _run("umoci", "unpack", "--rootless", "--image", name, str(bundle))
        for files in layers:
            for file, content in files.items():
                (bundle / "rootfs" / file).write_bytes(content)
            _run("umoci", "repack", "--refresh-bundle", "--image", name, str(bundle))
        return f"oci:{name}"

    def index(self, tag: str, platforms: Mapping[str, str]) -> str:
        """Add an index with the images of tags, ``{"linux/amd64": tag}``. Returns where skopeo finds it."""
        file = self.directory / "index.json"
        top = json.loads(file.read_text())
        by_tag = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry for entry in top["manifests"]}
        manifests = [
            {**{key: by_tag[name][key] for key in ("mediaType", "digest", "size")}, "platform": _platform(platform)}
            for platform, name in platforms.items()
        ]
        media_type = "application/vnd.oci.image.index.v1+json"
        data = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).encode()
        digits = hashlib.sha256(data).hexdigest()
        (self.directory / "blobs/sha256" / digits).write_bytes(data)
        annotations = {"org.opencontainers.image.ref.name": tag}
        top["manifests"].append({"mediaType": media_type, "digest": f"sha256:{digits}", "size": len(data), "annotations": annotations})
        file.write_text(json.dumps(top))
        return f"oci:{self.directory}:{tag}"


def _platform(text: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def _run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode()

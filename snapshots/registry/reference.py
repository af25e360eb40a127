"""Image references: ``debian:bookworm``, ``ghcr.io/a/b@sha256:…``, ``localhost:5000/x:tag``. Pure.

Source: the grammar of the ``reference`` package of CNCF's distribution, with Docker's normalisation: ``docker.io`` and ``library/`` are
implied. The registry is part of what credentials are bound to, so nothing is guessed: what does not fit the grammar is refused.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import msgspec

from cove.exception import InvalidError
from snapshots.digest import Digest, parse_digest

DOCKER_HUB: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
MAX_NAME: Final = 255
"""Characters of registry and repository together."""
MAX_REFERENCE: Final = MAX_NAME + len(":") + 128 + len("@sha256:") + 64

_ALIASES: Final = {"index.docker.io": DOCKER_HUB}
_COMPONENT: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_HEX_ID: Final = re.compile(r"[0-9a-f]{64}")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MAX_PORT: Final = 65_535


class Reference(msgspec.Struct, frozen=True):
    """One image at one registry, normalised. At least one of ``tag`` and ``digest`` is there; where both are, the digest decides."""

    registry: str
    """Host, with ``:port`` where one is named; lower-case. Docker Hub is ``docker.io``."""
    repository: str
    """Without the registry, e.g. ``library/debian``."""
    tag: str | None = None
    digest: Digest | None = None

    @property
    def target(self) -> str:
        """What the registry is asked for: the digest, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """The image that ``text`` names; ``latest`` where it has neither tag nor digest.

    Raises:  InvalidError: it does not fit the grammar; the text says which part and why.
    """
    if not text or len(text) > MAX_REFERENCE:
        raise _invalid(text, f"it has {len(text)} characters; allowed are 1 to {MAX_REFERENCE}")
    if _SCHEME.match(text):
        raise _invalid(text, "a reference has no scheme: leave out what stands before and with '://'")
    name, at, digest_text = text.partition("@")
    name, tag = _split_tag(name)
    registry, repository = _split_registry(name)
    registry = parse_registry(registry)
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    _check_repository(text, registry, repository)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(text, f"the tag {tag[:80]!r} is not 1 to 128 of letters, digits, '_', '.' and '-', not beginning with '.' or '-'")
    digest = _digest(text, digest_text) if at else None
    return Reference(registry, repository, tag if tag or digest else DEFAULT_TAG, digest)


def parse_registry(text: str) -> str:
    """The normalised name of a registry: ``host`` or ``host:port`` in lower case.

    Raises:  InvalidError: it is not one.
    """
    lowered = text.lower()
    host, port = split_port(lowered)
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _MAX_PORT):
        raise _invalid(text, f"the registry's port {port[:10]!r} is not a number from 1 to {_MAX_PORT}")
    if not (_is_ipv6(host) if host.startswith("[") else _HOST.fullmatch(host)):
        raise _invalid(text, f"{host[:80]!r} is not the name or address of a host")
    return _ALIASES.get(lowered, lowered)


def split_port(registry: str) -> tuple[str, str | None]:
    """Host (an IPv6 address keeps its brackets) and port of ``registry``; None where it names no port."""
    host, colon, port = registry.rpartition(":")
    if not colon or port.endswith("]"):
        return registry, None
    return host, port


def is_loopback(registry: str) -> bool:
    """Whether ``registry`` (normalised) can only be this machine. Names other than ``localhost`` are not resolved: they may change."""
    host = split_port(registry)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_repository(repository: str) -> str:
    """``repository`` itself, if it fits the grammar.

    Raises:  InvalidError: it does not.
    """
    _check_repository(repository, "", repository)
    return repository


def _split_tag(name: str) -> tuple[str, str | None]:
    """A colon after the last slash begins the tag; one before it, or in brackets, the port."""
    path, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    return f"{path}{slash}{last}", tag if colon else None


def _split_registry(name: str) -> tuple[str, str]:
    """The first component is a registry if it looks like a host: a dot, a port, brackets, or ``localhost``."""
    first, slash, rest = name.partition("/")
    if slash and (set(first) & set(".:[]") or first == "localhost"):
        return first, rest
    return DOCKER_HUB, name


def _check_repository(text: str, registry: str, repository: str) -> None:
    if not repository:
        raise _invalid(text, "it names no repository")
    if len(registry) + 1 + len(repository) > MAX_NAME:
        raise _invalid(text, f"registry and repository have more than {MAX_NAME} characters")
    if repository != repository.lower():
        raise _invalid(text, f"the repository {repository[:80]!r} has capital letters; names are lower-case")
    for component in repository.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise _invalid(text, f"the part {component[:80]!r} is not letters and digits with single '.', '_', '__' or dashes between them")
    if _HEX_ID.fullmatch(repository.removeprefix("library/")):
        raise _invalid(text, "64 hexadecimal digits are the id of an image, not its name")


def _digest(text: str, digest: str) -> Digest:
    try:
        return parse_digest(digest)
    except InvalidError as error:
        raise _invalid(text, "what follows '@' is not a sha256 digest") from error


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return host.endswith("]") and "%" not in host


def _invalid(text: str, why: str) -> InvalidError:
    return InvalidError(
        f"The image reference {text[:120]!r} is not valid: {why}.", remedy="Write it as [registry/]repository[:tag][@sha256:digest]."
    )

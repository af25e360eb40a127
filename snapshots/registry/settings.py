"""What an operator can set about registries. A struct of its own, to be a field of the daemons' settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from yarl import URL

from cove.exception import InvalidError
from snapshots.registry.reference import parse_registry

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Proxies and certificate bundles are not here: they are the machine's, from its environment."""

    registry_mirrors: dict[str, list[str]] = {}
    """Registry to base URLs tried before it, in this order, e.g. ``{"docker.io": ["https://mirror.example"]}``. Mirrors are asked
    without credentials, and are trusted with what a tag means. A mirror may have a plain HTTP URL: it is the operator's choice."""

    insecure_registries: list[str] = []
    """Registries (``host`` or ``host:port``) spoken to over plain HTTP. They never get credentials. Those on loopback addresses need not
    be listed, and do get credentials."""

    aws_sts_endpoint: str = ""
    """Where roles of AWS are assumed; empty: AWS's own in the region that is asked for. For endpoints in a private network."""

    aws_ecr_endpoint: str = ""
    """Where passwords for ECR come from; empty: AWS's own."""

    aws_web_identity_token_file: Path | None = None
    """A token by which AWS's IAM knows this cove (OIDC), renewed by whoever writes it, such as Kubernetes: with it a Secret needs no more
    than ``AWS_ROLE_ARN``. Any client can then ask for any role that trusts the token: let trust policies ask for the session's name
    (``sts:RoleSessionName``), which is ``cove-<workspace>``."""

    connect_timeout_s: Seconds = 10.0
    """For the connection and TLS: a registry that takes longer is down."""

    idle_timeout_s: Seconds = 30.0
    """How long an answer, or the next bytes of one, may take."""

    stall_window_s: Seconds = 60.0
    """A download is cut, and resumed, when so much waiting brought less than ``stall_window_bytes``."""

    stall_window_bytes: Annotated[int, msgspec.Meta(ge=0)] = 64 << 10
    """About 1 KiB/s at least: less is an attack or a dead line, not a slow one."""

    document_timeout_s: Seconds = 60.0
    """For a whole manifest, config or token: documents of a few MiB at most."""

    commit_timeout_s: Seconds = 300.0
    """How long a registry may take to answer once it has a whole blob: some hash it or move it to an object store then."""

    attempts: Positive = 5
    """Tries in a row without progress before an error is reported."""

    first_delay_s: Seconds = 0.5
    """Before the second try; doubled for each one more, with jitter."""

    max_delay_s: Seconds = 30.0
    """Longest wait between tries, also where the registry asks for a longer one: then the error is reported at once."""

    def __post_init__(self) -> None:
        """Raises:  ValueError: a registry or a URL is not one."""
        try:
            for registry in (*self.registry_mirrors, *self.insecure_registries):
                if parse_registry(registry) != registry:
                    raise ValueError(f"the registry {registry!r} is not written as {parse_registry(registry)!r}")
        except InvalidError as error:
            raise ValueError(str(error)) from error
        endpoints = [url for url in (self.aws_sts_endpoint, self.aws_ecr_endpoint) if url]
        for url in (*endpoints, *(url for urls in self.registry_mirrors.values() for url in urls)):
            check_base_url(url)


def check_base_url(text: str) -> URL:
    """``text`` as a URL to which paths can be appended.

    Raises:  ValueError: it is not plain ``http(s)://host[:port][/path]``. The text does not repeat it: it may hold a password.
    """
    try:
        url = URL(text)
    except ValueError:
        raise ValueError("a URL is malformed") from None
    if url.scheme not in ("http", "https") or not url.host or url.user is not None or url.password is not None:
        raise ValueError("a URL is not http(s)://host[:port][/path] without user and password")
    if url.query_string or url.fragment:
        raise ValueError("a URL has a query or a fragment")
    return url

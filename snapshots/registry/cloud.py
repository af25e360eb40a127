"""Credentials for the registries of clouds, from the keys that a Secret has for them.

Amazon's ECR gives a password for a signed request; Google's take a service account's key as it is. Either is
made only for a registry of that cloud, or on loopback: a mistyped image name must not give keys away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from cove.exception import InvalidError
from snapshots.registry import ecr
from snapshots.registry.credentials import SECRET_KEYS, CredentialKind, Credentials, registry_credentials, require
from snapshots.registry.network import Network
from snapshots.registry.reference import is_loopback, split_port
from snapshots.registry.settings import RegistrySettings

_GOOGLE_HOST: Final = re.compile(r"(?:[a-z0-9-]{1,60}\.)*(?:pkg\.dev|gcr\.io)")


class _RawServiceAccount(msgspec.Struct):
    type: str
    private_key: str
    client_email: str


async def credentials_from_secret(
    env: Mapping[str, str], kind: CredentialKind, *, registry: str, network: Network, settings: RegistrySettings, session: str
) -> Credentials:
    """The credentials that a Secret with the variables ``env`` has for ``registry``.

    Args:    session: whom they are for; roles are assumed in its name.
    Raises:
        InvalidError: keys are missing or malformed, or the registry is not one of this kind.
        AuthError, PermissionDeniedError, ConnectionError, ServiceError: the exchange failed.
    """
    match kind:
        case "registry":
            return registry_credentials(env)
        case "aws_ecr":
            _check_host(registry, ecr.HOST, "ECR", kind)
            return await ecr.ecr_credentials(env, registry, session=session, network=network, settings=settings)
        case "gcp_artifact_registry":
            return google_credentials(env, registry)


def google_credentials(env: Mapping[str, str], registry: str) -> Credentials:
    """For Artifact Registry and Container Registry.

    Raises:  InvalidError: no service account's key, or another registry.
    """
    _check_host(registry, _GOOGLE_HOST, "Google's Artifact Registry", "gcp_artifact_registry")
    (text,) = require(env, ("SERVICE_ACCOUNT_JSON",))
    try:
        account = msgspec.json.decode(text, type=_RawServiceAccount)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        account = None
    if account is None or account.type != "service_account":
        raise InvalidError(
            "SERVICE_ACCOUNT_JSON is not a service account's key.", remedy="Put the content of the key file there, not its path."
        )
    # The file has line breaks between its fields; a header must not.
    return Credentials("_json_key", msgspec.json.encode(msgspec.json.decode(text)).decode(), "gcp_artifact_registry")


def _check_host(registry: str, pattern: re.Pattern[str], name: str, kind: CredentialKind) -> None:
    if not (is_loopback(registry) or pattern.fullmatch(split_port(registry)[0])):
        raise InvalidError(
            f"{registry} is not a registry of {name}: the keys {SECRET_KEYS[kind]} are not sent there.",
            remedy="Give the full image URI, or use Image.from_registry.",
        )

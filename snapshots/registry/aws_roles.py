"""Keys of a session in an IAM role: from the keys of a user who may assume it, or from a token by which AWS knows this cove.

Source: AWS Security Token Service API Reference, "AssumeRole" and "AssumeRoleWithWebIdentity", as form posts answered in XML.
"""

from __future__ import annotations

import asyncio
import datetime
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from yarl import URL

from cove.exception import InvalidError, ServiceError
from snapshots.registry.aws_calls import aws_domain, post
from snapshots.registry.aws_signature import AwsKeys, sign
from snapshots.registry.network import Network
from snapshots.registry.settings import RegistrySettings

DURATION_S: Final = 900
"""How long a session lasts: AWS's least, and more than the one request that needs it."""

MAX_TOKEN_BYTES: Final = 20_000
"""Of a web identity: what AWS takes."""

_ROLE: Final = re.compile(r"arn:aws(?:-[a-z]{1,10}){0,3}:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}", re.ASCII)
_NOT_IN_SESSION: Final = re.compile(r"[^\w+=,.@-]", re.ASCII)
_VERSION: Final = "2011-06-15"
_KEYS: Final = "AWS_ROLE_ARN"
_FIELDS: Final = ("AccessKeyId", "SecretAccessKey", "SessionToken")
_SENDABLE: Final = re.compile(r"[A-Za-z0-9]+ [!-~]+ [!-~]+")


async def keys_of_role(
    role: str, region: str, keys: AwsKeys | None, *, session: str, network: Network, settings: RegistrySettings
) -> AwsKeys:
    """Keys that act in ``role``.

    Args:
        keys: of a user who may assume it; without, the operator's web identity does.
        session: whom it is for. The role's trust policy can ask for it, as ``sts:RoleSessionName``.
    Raises:
        InvalidError: the role is malformed, or there are neither keys nor a web identity.
        AuthError, PermissionDeniedError, ConnectionError, ServiceError: the exchange failed.
    """
    if not _ROLE.fullmatch(role):
        raise InvalidError("AWS_ROLE_ARN is not the name of a role.", remedy="Write it as arn:aws:iam::123456789012:role/name.")
    url = URL(settings.aws_sts_endpoint) if settings.aws_sts_endpoint else URL(f"https://sts.{region}.{aws_domain(region)}/")
    form = {"Version": _VERSION, "RoleArn": role, "RoleSessionName": session_name(session), "DurationSeconds": str(DURATION_S)}
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    if keys is None:
        token = await asyncio.to_thread(_web_identity, settings.aws_web_identity_token_file)
        body = urlencode({**form, "Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": token}).encode()
    else:
        body = urlencode({**form, "Action": "AssumeRole"}).encode()
        headers = sign("POST", url, headers, body, keys=keys, region=region, service="sts", now=datetime.datetime.now(datetime.UTC))
    right = "the role's trust policy must allow whoever assumes it"
    return _session_keys(await post(network, url, headers, body, what="a role's session", keys=_KEYS, right=right))


def session_name(who: str) -> str:
    """``cove-`` and ``who``, in the characters and the length that AWS takes."""
    return f"cove-{_NOT_IN_SESSION.sub('-', who)}"[:64]


def _web_identity(file: Path | None) -> str:
    """The token, which whoever keeps the file renews. Blocks."""
    if file is None:
        raise InvalidError(
            "AWS_ROLE_ARN alone needs an identity that AWS knows this cove by, and it has none.",
            remedy="Add AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to the Secret, or have the operator set aws_web_identity_token_file.",
        )
    try:
        with file.open("rb") as opened:
            token = opened.read(MAX_TOKEN_BYTES + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise ServiceError("The router's web identity for AWS cannot be read.", retryable=False) from error
    if not token or len(token) > MAX_TOKEN_BYTES:
        raise ServiceError("The router's web identity for AWS is empty or too long.", retryable=False)
    return token


def _session_keys(answer: bytes) -> AwsKeys:
    """Three fields of a document that is flat and small. Errors say nothing of what it is instead."""
    text = answer.decode("utf-8", "replace")
    found: Mapping[str, list[str]] = {
        name: re.findall(rf"<{name}>\s*([^<>\s]{{1,8192}})\s*</{name}>", text)
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    }
    if any(len(values) != 1 for values in found.values()):
        raise ServiceError("AWS answered without the keys of a session.", retryable=False)
    key_id, secret, token = (html.unescape(values[0]) for values in found.values())
    if not (
        key_id.isascii() and key_id.isalnum() and secret.isascii() and token.isascii() and secret.isprintable() and token.isprintable()
    ):
        raise ServiceError("AWS answered with keys that cannot be sent.", retryable=False)
    return AwsKeys(key_id, secret, token)

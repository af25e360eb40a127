"""Amazon's ECR: a password for twelve hours in exchange for a signed request."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Mapping
from typing import Final

import msgspec
from yarl import URL

from cove.exception import InvalidError, ServiceError
from snapshots.registry.aws_calls import MAX_ANSWER_BYTES, aws_domain, check_region, post
from snapshots.registry.aws_roles import keys_of_role
from snapshots.registry.aws_signature import AwsKeys, sign
from snapshots.registry.credentials import SECRET_KEYS, Credentials, require
from snapshots.registry.manifest import decode_json
from snapshots.registry.network import Network
from snapshots.registry.settings import RegistrySettings

HOST: Final = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]{1,40})\.amazonaws\.com(?:\.cn)?")

_SESSION_TOKEN: Final = re.compile(r"[A-Za-z0-9+/=_-]{0,8192}")
_TARGET: Final = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"


class _RawAuthorization(msgspec.Struct, rename="camel"):
    authorization_token: str


class _RawAnswer(msgspec.Struct, rename="camel"):
    authorization_data: list[_RawAuthorization]


async def ecr_credentials(
    env: Mapping[str, str], registry: str, *, session: str, network: Network, settings: RegistrySettings
) -> Credentials:
    """A password for ``registry``, which was checked to be one of ECR.

    Args:    session: whom a role's session is for.
    Raises:
        InvalidError: keys are missing or malformed, or of another region.
        AuthError, PermissionDeniedError, ConnectionError, ServiceError: an exchange failed.
    """
    role = env.get("AWS_ROLE_ARN", "")
    (region,) = require(env, ("AWS_REGION",))
    keys = None if role and not env.get("AWS_ACCESS_KEY_ID") else _keys(env)
    check_region(region)
    _check_registry(registry, region)
    if role:
        keys = await keys_of_role(role, region, keys, session=session, network=network, settings=settings)
    assert keys is not None  # a Secret without keys has a role
    url = URL(settings.aws_ecr_endpoint or f"https://api.ecr.{region}.{aws_domain(region)}/")
    body = b"{}"
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": _TARGET}
    signed = sign("POST", url, headers, body, keys=keys, region=region, service="ecr", now=datetime.datetime.now(datetime.UTC))
    named = "AWS_ROLE_ARN" if role else SECRET_KEYS["aws_ecr"]
    right = f"the {'role' if role else 'user'} must have ecr:GetAuthorizationToken"
    return _password(await post(network, url, signed, body, what="a registry token", keys=named, right=right))


def _keys(env: Mapping[str, str]) -> AwsKeys:
    key_id, secret, _ = require(env, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"))
    if not (key_id.isascii() and key_id.isalnum()):
        raise InvalidError("AWS_ACCESS_KEY_ID has other characters than letters and digits.")
    token = env.get("AWS_SESSION_TOKEN", "")
    if not _SESSION_TOKEN.fullmatch(token):
        raise InvalidError("AWS_SESSION_TOKEN has other characters than base 64.")
    return AwsKeys(key_id, secret, token)


def _password(answer: bytes) -> Credentials:
    """The token is ``user:password`` in base 64. Errors say nothing of what it is instead."""
    try:
        raw = decode_json(answer, _RawAnswer, "token of ECR", MAX_ANSWER_BYTES)
        username, colon, password = base64.b64decode(raw.authorization_data[0].authorization_token, validate=True).decode().partition(":")
        if not colon:
            raise ValueError("no colon")
        return Credentials(username, password, "aws_ecr")
    except (InvalidError, IndexError, ValueError, binascii.Error):
        raise ServiceError("ECR answered without a usable token.", retryable=False) from None


def _check_registry(registry: str, region: str) -> None:
    match = HOST.fullmatch(registry)
    if match is not None and match[1] != region:
        raise InvalidError(
            f"The image is in the region {match[1]}, AWS_REGION is {region}.", remedy="A token is good in one region: set AWS_REGION to it."
        )

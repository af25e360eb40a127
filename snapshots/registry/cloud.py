"""Credentials for the registries of clouds, from the keys that a Secret has for them.

Amazon's ECR gives a password for twelve hours in exchange for signed request; Google's take a service account's key as it is. Either is
made only for a registry of that cloud, or on loopback: a mistyped image name must not give keys away.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import re
from collections.abc import Mapping
from typing import Final

import msgspec
from yarl import URL

from cove.exception import (
    AuthError,
    InvalidError,
    PermissionDeniedError,
    RequestSizeError,
    ServiceError,
    UnimplementedError,
)
from snapshots.registry.aws_signature import AwsKeys, sign
from snapshots.registry.credentials import SECRET_KEYS, CredentialKind, Credentials, registry_credentials, require
from snapshots.registry.endpoints import shown
from snapshots.registry.failures import network_failures
from snapshots.registry.manifest import decode_json
from snapshots.registry.network import Network
from snapshots.registry.reference import is_loopback, split_port

ECR_TIMEOUT_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 1 << 20

_ECR_HOST: Final = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]{1,40})\.amazonaws\.com(?:\.cn)?")
_REGION: Final = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]{1,16}){1,4}")
_SESSION_TOKEN: Final = re.compile(r"[A-Za-z0-9+/=_-]{0,8192}")
_GOOGLE_HOST: Final = re.compile(r"(?:[a-z0-9-]{1,60}\.)*(?:pkg\.dev|gcr\.io)")
_TARGET: Final = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"


class _RawAuthorization(msgspec.Struct, rename="camel"):
    authorization_token: str


class _RawAnswer(msgspec.Struct, rename="camel"):
    authorization_data: list[_RawAuthorization]


class _RawServiceAccount(msgspec.Struct):
    type: str
    private_key: str
    client_email: str


async def credentials_from_secret(
    env: Mapping[str, str], kind: CredentialKind, *, registry: str, network: Network, ecr_endpoint: URL | None = None
) -> Credentials:
    """The credentials that a Secret with the variables ``env`` has for ``registry``.

    Args:    ecr_endpoint: in the place of AWS's own.
    Raises:
        InvalidError: keys are missing or malformed, or the registry is not one of this kind.
        UnimplementedError: AWS keys for OIDC.
        AuthError, PermissionDeniedError, ConnectionError, ServiceError: the exchange failed.
    """
    match kind:
        case "registry":
            return registry_credentials(env)
        case "aws_ecr":
            return await _ecr(env, registry, network, ecr_endpoint)
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


async def _ecr(env: Mapping[str, str], registry: str, network: Network, endpoint: URL | None) -> Credentials:
    _check_host(registry, _ECR_HOST, "ECR", "aws_ecr")
    if env.get("AWS_ROLE_ARN") and not env.get("AWS_ACCESS_KEY_ID"):
        raise UnimplementedError("Roles (AWS_ROLE_ARN, by OIDC) are not supported yet.", remedy=f"Use {SECRET_KEYS['aws_ecr']}.")
    key_id, secret, region = require(env, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"))
    if not _REGION.fullmatch(region):
        raise InvalidError("AWS_REGION is not the name of a region.", remedy="Write it as eu-central-1.")
    if not (key_id.isascii() and key_id.isalnum()):
        raise InvalidError("AWS_ACCESS_KEY_ID has other characters than letters and digits.")
    token = env.get("AWS_SESSION_TOKEN", "")
    if not _SESSION_TOKEN.fullmatch(token):
        raise InvalidError("AWS_SESSION_TOKEN has other characters than base 64.")
    _check_region(registry, region)
    url = endpoint or _ecr_endpoint(region)
    keys = AwsKeys(key_id, secret, token)
    body = b"{}"
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": _TARGET}
    signed = sign("POST", url, headers, body, keys=keys, region=region, service="ecr", now=datetime.datetime.now(datetime.UTC))
    return _ecr_credentials(await _post(network, url, signed, body))


async def _post(network: Network, url: URL, headers: dict[str, str], body: bytes) -> bytes:
    with network_failures(shown(url)):
        async with (
            asyncio.timeout(ECR_TIMEOUT_S),
            network.session.post(url, headers=headers, data=body, allow_redirects=False, proxy=network.proxy(url)) as response,
        ):
            answer = bytearray()
            while chunk := await response.content.readany():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise RequestSizeError(f"{shown(url)} sent more than {MAX_ANSWER_BYTES} bytes.")
            _check_status(response.status, shown(url))
            return bytes(answer)


def _check_status(status: int, host: str) -> None:
    if status == 200:
        return
    cause = f"{host} answered {status} to the request for a registry token."
    if status in (400, 401):
        raise AuthError(cause, remedy=f"Check {SECRET_KEYS['aws_ecr']} in the Secret.")
    if status == 403:
        raise PermissionDeniedError(cause, remedy=f"Check {SECRET_KEYS['aws_ecr']}; the user must have ecr:GetAuthorizationToken.")
    raise ServiceError(cause, retryable=status == 429 or status >= 500)


def _ecr_credentials(answer: bytes) -> Credentials:
    """The token is ``user:password`` in base 64. Errors say nothing of what it is instead."""
    try:
        raw = decode_json(answer, _RawAnswer, "token of ECR", MAX_ANSWER_BYTES)
        username, colon, password = base64.b64decode(raw.authorization_data[0].authorization_token, validate=True).decode().partition(":")
        if not colon:
            raise ValueError("no colon")
        return Credentials(username, password, "aws_ecr")
    except (InvalidError, IndexError, ValueError, binascii.Error):
        raise ServiceError("ECR answered without a usable token.", retryable=False) from None


def _ecr_endpoint(region: str) -> URL:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return URL(f"https://api.ecr.{region}.{domain}/")


def _check_region(registry: str, region: str) -> None:
    match = _ECR_HOST.fullmatch(registry)
    if match is not None and match[1] != region:
        raise InvalidError(
            f"The image is in the region {match[1]}, AWS_REGION is {region}.", remedy="A token is good in one region: set AWS_REGION to it."
        )


def _check_host(registry: str, pattern: re.Pattern[str], name: str, kind: CredentialKind) -> None:
    if not (is_loopback(registry) or pattern.fullmatch(split_port(registry)[0])):
        raise InvalidError(
            f"{registry} is not a registry of {name}: the keys {SECRET_KEYS[kind]} are not sent there.",
            remedy="Give the full image URI, or use Image.from_registry.",
        )

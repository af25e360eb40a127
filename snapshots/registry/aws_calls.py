"""One call of an AWS service, answered within bounds. Refusals become errors that name the Secret's keys, never their values."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from yarl import URL

from cove.exception import AuthError, InvalidError, PermissionDeniedError, RequestSizeError, ServiceError
from snapshots.registry.endpoints import shown
from snapshots.registry.failures import network_failures
from snapshots.registry.network import Network

TIMEOUT_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 1 << 20

_REGION: Final = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]{1,16}){1,4}")


def check_region(region: str) -> str:
    """``region``, which becomes a part of host names. Raises: InvalidError: it is no region's name."""
    if not _REGION.fullmatch(region):
        raise InvalidError("AWS_REGION is not the name of a region.", remedy="Write it as eu-central-1.")
    return region


def aws_domain(region: str) -> str:
    """Where the services of ``region`` are."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


async def post(network: Network, url: URL, headers: Mapping[str, str], body: bytes, *, what: str, keys: str, right: str) -> bytes:
    """The answer to one request.

    Args:
        what: is asked for, for errors.
        keys: of the Secret, that a refusal can be due to.
        right: that whoever they stand for must have.
    Raises:  AuthError, PermissionDeniedError, ServiceError: refused. ConnectionError: no answer. RequestSizeError: too long a one.
    """
    with network_failures(shown(url)):
        async with (
            asyncio.timeout(TIMEOUT_S),
            network.session.post(url, headers=headers, data=body, allow_redirects=False, proxy=network.proxy(url)) as response,
        ):
            answer = bytearray()
            while chunk := await response.content.readany():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise RequestSizeError(f"{shown(url)} sent more than {MAX_ANSWER_BYTES} bytes.")
            _check_status(response.status, f"{shown(url)} answered {response.status} to the request for {what}.", keys, right)
            return bytes(answer)


def _check_status(status: int, cause: str, keys: str, right: str) -> None:
    if status == 200:
        return
    if status in (400, 401):
        raise AuthError(cause, remedy=f"Check {keys} in the Secret.")
    if status == 403:
        raise PermissionDeniedError(cause, remedy=f"Check {keys}; {right}.")
    raise ServiceError(cause, retryable=status == 429 or status >= 500)

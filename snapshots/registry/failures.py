"""What a registry's answers and a broken connection mean, as errors that say what to do.

Texts name hosts and repositories, never whole URLs, headers or bodies: those can hold signatures and tokens, and are the registry's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
import msgspec

from cove.exception import AuthError, ConnectionError, Error, NotFoundError, PermissionDeniedError, ResourceExhaustedError, ServiceError
from snapshots.registry.credentials import SECRET_KEYS, Credentials
from snapshots.registry.network import RefusedAddressError
from snapshots.registry.retry import RETRY_AFTER, parse_retry_after

MAX_ERROR_BYTES: Final = 64 << 10
"""Of an error's body that is read."""

_CODE: Final = re.compile(r"[A-Z][A-Z_]{0,63}")
_WITH_RETRY_AFTER: Final = (429, 503)


class _RawError(msgspec.Struct):
    code: str = ""


class _RawErrors(msgspec.Struct):
    errors: list[_RawError] = []


def error_of(status: int, *, what: str, host: str, body: bytes, retry_after: str | None, credentials: Credentials | None) -> Error:
    """The error that an answer with a ``status`` of no use stands for.

    Args:  what: what was asked for, e.g. ``the manifest of docker.io/library/debian:latest``; ``body`` as far as it was read.
    """
    codes = error_codes(body)
    said = f"{status} ({', '.join(codes)})" if codes else str(status)
    cause = f"The registry {host} answered {said} for {what}."
    if status == 401:
        return AuthError(cause, remedy=_remedy(credentials))
    if status == 403:
        return PermissionDeniedError(cause, remedy=f"The registry must allow it to this user. {_remedy(credentials)}")
    if status in (404, 410):
        return NotFoundError(cause, remedy="Check the name and the tag, and that the registry has it.")
    waited = parse_retry_after(retry_after) if status in _WITH_RETRY_AFTER else None
    context = {} if waited is None else {RETRY_AFTER: str(waited)}
    if status == 429:
        return ResourceExhaustedError(cause, remedy="Try again later, or give credentials: registries allow more then.", context=context)
    if status in (408, 425) or status >= 500:
        return ServiceError(cause, remedy="Try again later.", context=context)
    return ServiceError(cause, remedy="The registry refused the request itself.", retryable=False)


def error_codes(body: bytes) -> list[str]:
    """Codes of the distribution specification, e.g. ``MANIFEST_UNKNOWN``; what does not look like one is left out."""
    try:
        errors = msgspec.json.decode(body, type=_RawErrors).errors
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return []
    return [error.code for error in errors[:4] if _CODE.fullmatch(error.code)]


@contextmanager
def network_failures(host: str) -> Iterator[None]:
    """Turns what aiohttp and the system raise into errors of ours. ``host`` is what was spoken to."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        remedy = "Have SSL_CERT_FILE name a bundle with its authority."
        raise ConnectionError(f"The certificate of {host} is not trusted.", remedy=remedy, retryable=False) from error
    except aiohttp.ClientSSLError as error:
        remedy = "It may not speak TLS: an operator can list it in insecure_registries."
        raise ConnectionError(f"There is no TLS with {host}.", remedy=remedy, retryable=False) from error
    except TimeoutError as error:
        raise ConnectionError(f"{host} took too long.", remedy="Try again later.") from error
    except aiohttp.ClientHttpProxyError as error:
        cause = f"The proxy refused the way to {host} with {error.status}."
        raise ConnectionError(cause, remedy="Check the proxy in the environment.", retryable=error.status >= 500) from None
    except aiohttp.ClientConnectorDNSError as error:
        if isinstance(error.os_error, RefusedAddressError):
            remedy = "If it is meant, an operator can name it in registry_mirrors or insecure_registries."
            raise PermissionDeniedError(f"{host} leads to this machine or its link.", remedy=remedy) from error
        raise ConnectionError(f"The name of {host} cannot be resolved.", remedy="Check the name, the network and the proxy.") from error
    except aiohttp.ClientConnectionError as error:
        raise ConnectionError(f"There is no connection with {host}.", remedy="Check the name, the network and the proxy.") from error
    except aiohttp.ClientPayloadError as error:
        raise ConnectionError(f"The connection with {host} was cut.") from error
    except (aiohttp.ClientError, ValueError) as error:
        # Not chained: their texts hold the URL, which may be signed.
        raise ServiceError(f"{host} does not speak HTTP as it should ({type(error).__name__}).", retryable=False) from None
    except OSError as error:
        raise ConnectionError(f"There is no connection with {host}.") from error


def _remedy(credentials: Credentials | None) -> str:
    if credentials is None:
        return f"If it is private, pass a Secret with {SECRET_KEYS['registry']}."
    return f"Check {SECRET_KEYS[credentials.kind]} in the Secret."

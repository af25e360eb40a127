"""AWS Signature Version 4 of one request. Pure: the time is given.

Source: AWS General Reference, "Create a signed AWS API request".
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec
from yarl import URL

ALGORITHM: Final = "AWS4-HMAC-SHA256"


class AwsKeys(msgspec.Struct, frozen=True):
    """Keys of an IAM user, or of a session where there is a token."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return "AwsKeys(…)"


def sign(
    method: str, url: URL, headers: Mapping[str, str], body: bytes, *, keys: AwsKeys, region: str, service: str, now: datetime.datetime
) -> dict[str, str]:
    """``headers`` with date, session token and signature added; all of them are signed, and ``Host``.

    Args:  url: with a path and a query that need no quoting; ``now`` with its time zone.
    """
    stamp = now.astimezone(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {"X-Amz-Date": stamp, **({"X-Amz-Security-Token": keys.session_token} if keys.session_token else {})}
    signed = {
        name.lower(): " ".join(value.split()) for name, value in {**headers, **added, "Host": url.host_port_subcomponent or ""}.items()
    }
    names = ";".join(sorted(signed))
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    request = "\n".join(
        (
            method,
            quote(url.path, safe="/~"),
            "&".join(sorted(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in url.query.items())),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    text = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    signature = hmac.new(_key(keys, scope), text.encode(), hashlib.sha256).hexdigest()
    authorization = f"{ALGORITHM} Credential={keys.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, **added, "Authorization": authorization}


def _key(keys: AwsKeys, scope: str) -> bytes:
    """Good for one day, region and service."""
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key

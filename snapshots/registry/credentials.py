"""Credentials for one registry, and how the keys of a Secret become some. Pure.

A password never appears in ``repr()``, an error or a log.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from cove.exception import InvalidError

USERNAME_KEY: Final = "REGISTRY_USERNAME"
PASSWORD_KEY: Final = "REGISTRY_PASSWORD"
MAX_BYTES: Final = 64 << 10
"""Of a user name and a password: a service account's key of Google has 2.4 KB."""

CredentialKind = Literal["registry", "aws_ecr", "gcp_artifact_registry"]
"""Which documented set of keys a Secret has: that of ``from_registry``, ``from_aws_ecr`` or ``from_gcp_artifact_registry``."""

SECRET_KEYS: Final[Mapping[CredentialKind, str]] = {
    "registry": f"{USERNAME_KEY} and {PASSWORD_KEY}",
    "aws_ecr": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION",
    "gcp_artifact_registry": "SERVICE_ACCOUNT_JSON",
}


class Credentials:
    """A user name and a password. ``kind`` tells errors which keys of a Secret to speak of."""

    __slots__ = ("_password", "kind", "username")

    def __init__(self, username: str, password: str, kind: CredentialKind = "registry") -> None:
        if not username or ":" in username or any(char < " " for char in username + password):
            raise InvalidError("The registry's user name is empty or has a colon, or there are control characters in it or the password.")
        if len(username.encode()) + len(password.encode()) > MAX_BYTES:
            raise InvalidError(f"The registry's user name and password have more than {MAX_BYTES} bytes.")
        self.username = username
        self.kind: CredentialKind = kind
        self._password = password

    def basic(self) -> str:
        """The value of an ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self._password}".encode()).decode()

    def __repr__(self) -> str:
        return f"Credentials(kind={self.kind!r})"


def registry_credentials(env: Mapping[str, str]) -> Credentials:
    """Those of a Secret for ``from_registry``.

    Raises:  InvalidError: a key is missing or empty.
    """
    username, password = require(env, (USERNAME_KEY, PASSWORD_KEY))
    return Credentials(username, password)


def require(env: Mapping[str, str], keys: Sequence[str]) -> list[str]:
    """The values of ``keys``.

    Raises:  InvalidError: some are missing or empty; it names them, and never a value.
    """
    missing = [key for key in keys if not env.get(key)]
    if missing:
        raise InvalidError(f"The Secret lacks {', '.join(missing)}.", remedy=f"It must have {', '.join(keys)}.")
    return [env[key] for key in keys]

"""Which names and tags users may give. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from cove.exception import InvalidError
from cove.types import check_name

MAX_SANDBOX_NAME: Final = 63
MAX_APP_NAME: Final = 64
MAX_TOKEN_NAME: Final = 64
MAX_TAGS: Final = 64
MAX_TAG_KEY: Final = 128
MAX_TAG_VALUE: Final = 1_024
MAX_IDEMPOTENCY_KEY: Final = 128

_LOOKS_LIKE_AN_ID = re.compile(r"[a-z]{2}-[A-Za-z0-9]{22}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_sandbox_name(name: str) -> str:
    """Return ``name`` if it may name a sandbox: fewer than 64 of ``[A-Za-z0-9._-]``, and not the form of an id.

    Raises:
        InvalidError: it may not.
    """
    return _not_an_id(check_name(name, what="Sandbox", max_length=MAX_SANDBOX_NAME), "Sandbox")


def check_app_name(name: str) -> str:
    """Return ``name`` if it may name an App: at most 64 of ``[A-Za-z0-9._-]``, and not the form of an id.

    Raises:
        InvalidError: it may not.
    """
    return _not_an_id(check_name(name, what="App", max_length=MAX_APP_NAME), "App")


def check_environment_name(name: str) -> str:
    """Return ``name`` if it may name an environment.

    Raises:
        InvalidError: it may not.
    """
    return _not_an_id(check_name(name, what="Environment"), "Environment")


def check_token_name(name: str) -> str:
    """Return ``name`` if it may describe an API token: free text on one line, or nothing.

    Raises:
        InvalidError: it may not.
    """
    return _check_text(name, "token name", MAX_TOKEN_NAME)


def check_idempotency_key(key: str) -> str:
    """Return ``key`` if it may identify a create.

    Raises:
        InvalidError: empty, too long, or with characters outside ``[A-Za-z0-9._-]``.
    """
    return check_name(key, what="Idempotency key", max_length=MAX_IDEMPOTENCY_KEY)


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return ``tags`` as a dict if there are at most 64, each key 1 to 128 and each value up to 1,024 characters long.

    Raises:
        InvalidError: too many, too long, an empty key, or control characters.
    """
    if len(tags) > MAX_TAGS:
        raise InvalidError(f"There are {len(tags)} tags.", remedy=f"Allowed are {MAX_TAGS}.", context={"field": "tags"})
    for key, value in tags.items():
        if not key:
            raise InvalidError("A tag key is empty.", remedy=f"Use 1 to {MAX_TAG_KEY} characters.", context={"field": "tags"})
        _check_text(key, "tag key", MAX_TAG_KEY)
        _check_text(value, f"value of tag {key!r}", MAX_TAG_VALUE)
    return dict(tags)


def _check_text(text: str, what: str, max_length: int) -> str:
    if len(text) > max_length:
        raise InvalidError(f"The {what} has {len(text)} characters.", remedy=f"Allowed are {max_length}.", context={"field": what})
    if _CONTROL.search(text):
        raise InvalidError(f"The {what} {text[:80]!r} has control characters.", remedy="Leave them out.", context={"field": what})
    return text


def _not_an_id(name: str, what: str) -> str:
    if _LOOKS_LIKE_AN_ID.fullmatch(name):
        raise InvalidError(f"{what} name {name!r} looks like an id.", remedy="Choose a name that cannot be taken for one.")
    return name

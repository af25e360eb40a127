"""What one node may call its things in the kernel, and how it knows them again. Pure.

Several nodes live on one machine (tests run in parallel); each has an instance name, and everything it makes carries that name and the
sandbox id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from cove.exception import InvalidError
from cove.types import SandboxId, is_id

MAX_INTERFACE_NAME: Final = 15
"""Characters. Source: linux/if.h, IFNAMSIZ less the closing NUL."""

_INDEX_DIGITS: Final = 5
_PREFIX_LENGTH: Final = MAX_INTERFACE_NAME - len("_") - _INDEX_DIGITS

_INSTANCE = re.compile(r"cove(-[a-z0-9-]{1,16})?")


def check_instance(instance: str) -> str:
    """Return ``instance`` if it is ``cove`` or ``cove-<up to 16 of [a-z0-9-]>``. Raises: InvalidError."""
    if not _INSTANCE.fullmatch(instance):
        raise InvalidError(
            f"{instance[:80]!r} cannot name a node's kernel objects.", remedy="Use cove, or cove- and up to 16 of [a-z0-9-]."
        )
    return instance


def interface_prefix(instance: str) -> str:
    """What the host side of this instance's links is named before its number, e.g. ``cove_``.

    The underscore occurs in no instance name, so that no instance's prefix begins another's. Names that leave no room for the number are
    replaced by a hash; ``cv`` begins no instance name.
    """
    if len(instance) <= _PREFIX_LENGTH:
        return f"{instance}_"
    return f"cv{hashlib.sha256(instance.encode()).hexdigest()[: _PREFIX_LENGTH - 2]}_"


def is_sandbox_id(text: str) -> bool:
    """Whether ``text`` has the form of a sandbox id."""
    return is_id(text, "sb")


def check_sandbox_id(text: str) -> SandboxId:
    """Return ``text`` as an id. It becomes part of paths, so every facility asks first. Raises: InvalidError."""
    if not is_sandbox_id(text):
        raise InvalidError(f"{text[:80]!r} is not a sandbox id.")
    return SandboxId(text)


def sandbox_ids(names: Iterable[str]) -> frozenset[SandboxId]:
    """The sandbox ids among ``names``; whatever else lies in a directory is not ours to touch."""
    return frozenset(SandboxId(name) for name in names if is_sandbox_id(name))


def hostname(sandbox_id: SandboxId) -> str:
    """What a sandbox calls itself: host names are case-insensitive and must not look like more than a name."""
    return sandbox_id.lower()

# Written by `make facade` from cove/_async/secret.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Secrets: environment variables that do not belong in source code."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from cove._async.secret import _Secret
from cove._dual import Face, wrap

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


class Secret(Face):
    """Environment variables for a sandbox or a process. Where several set the same variable, the last one in the list wins."""

    __slots__ = ()
    _impl: _Secret

    @staticmethod
    def from_dict(env_dict: Mapping[str, str | None] = MappingProxyType({})) -> Secret:
        """A secret with these variables, sent along with whatever uses it. Values of None are left out.

        Raises:  InvalidError: a name or a value is not a string.
        """
        result: Secret = wrap(_Secret.from_dict(env_dict))
        return result

    @staticmethod
    def from_local_environ(env_keys: list[str]) -> Secret:
        """A secret with variables of this process.

        Raises:  InvalidError: one of them is not set.
        """
        result: Secret = wrap(_Secret.from_local_environ(env_keys))
        return result

    @staticmethod
    def from_dotenv(path: str | os.PathLike[str] | None = None, *, filename: str = ".env") -> Secret:
        """A secret with the variables of a ``.env`` file, the first one found from a starting directory upwards.

        Args:
            path: where to start: a directory, or a file (such as ``__file__``) in it; the working directory when left out.
            filename: what the file is called.
        Raises:
            NotFoundError: no such file up to the root.
            InvalidError: the file has a line that is not an assignment.
        """
        result: Secret = wrap(_Secret.from_dotenv(path, filename=filename))
        return result


__all__ = ["Secret"]

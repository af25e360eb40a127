"""Secrets: environment variables that do not belong in source code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from cove import _dotenv
from cove._async.base import Exposed
from cove.exception import InvalidError, NotFoundError


class _Secret(Exposed):
    """Environment variables for a sandbox or a process. Where several set the same variable, the last one in the list wins."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = dict(variables)

    @staticmethod
    def from_dict(env_dict: Mapping[str, str | None] = MappingProxyType({})) -> _Secret:
        """A secret with these variables, sent along with whatever uses it. Values of None are left out.

        Raises:  InvalidError: a name or a value is not a string.
        """
        if not all(isinstance(name, str) and isinstance(value, str | None) for name, value in env_dict.items()):
            raise InvalidError("A secret is a dict of strings.", remedy="Convert other values with str().")
        return _Secret({name: value for name, value in env_dict.items() if value is not None})

    @staticmethod
    def from_local_environ(env_keys: list[str]) -> _Secret:
        """A secret with variables of this process.

        Raises:  InvalidError: one of them is not set.
        """
        missing = [key for key in env_keys if key not in os.environ]
        if missing:
            raise InvalidError(f"Not set in the local environment: {', '.join(missing)}.", remedy="Set them, or leave them out.")
        return _Secret({key: os.environ[key] for key in env_keys})

    @staticmethod
    def from_dotenv(path: str | os.PathLike[str] | None = None, *, filename: str = ".env") -> _Secret:
        """A secret with the variables of a ``.env`` file, the first one found from a starting directory upwards.

        Args:
            path: where to start: a directory, or a file (such as ``__file__``) in it; the working directory when left out.
            filename: what the file is called.
        Raises:
            NotFoundError: no such file up to the root.
            InvalidError: the file has a line that is not an assignment.
        """
        start = Path.cwd() if path is None else Path(path).absolute()
        for directory in (start, *start.parents):
            file = directory / filename
            if file.is_file():
                return _Secret(_dotenv.parse(file.read_text("utf-8"), source=str(file)))
        raise NotFoundError(f"There is no {filename!r} in {start} or above.", remedy="Create it, or name it with filename=.")

"""The file of profiles, ``~/.cove.toml``: one table a profile.

::

    [local]
    server_url = "127.0.0.1:7700"
    token_id = "ak-…"
    token_secret = "as-…"
    active = true

This module reads and rewrites it as plain values; what they mean is :mod:`cove.config`'s.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from cove.exception import InvalidError

Value: TypeAlias = str | bool | float
Profile: TypeAlias = dict[str, Value]
"""One table of the file."""

MAX_BYTES: Final = 2**20


def read(path: Path) -> dict[str, Profile]:
    """Every profile by name; none where there is no file.

    Raises:  InvalidError: unreadable, not TOML, or with something else than tables of plain values.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise InvalidError(f"{path} is too large for a file of profiles.")
        found = tomllib.loads(text.decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"{path} is not valid TOML: {error}.", remedy="Mend it, or move it away.") from error
    for name, table in found.items():
        if not isinstance(table, dict) or not all(isinstance(value, str | bool | int | float) for value in table.values()):
            raise InvalidError(f"{path} has something else than a profile under {name!r}.", remedy="Put each profile in a table: [name].")
    return found


def write(path: Path, profiles: Mapping[str, Profile]) -> None:
    """Replace the file at once; it holds secrets, so only its owner may read it. Comments in it are lost.

    Raises:  InvalidError: it cannot be written.
    """
    tables = []
    for name, values in profiles.items():
        lines = [f"{_key(key)} = {_literal(value)}\n" for key, value in values.items()]
        tables.append(f"[{_key(name)}]\n" + "".join(lines))
    target = path.resolve()  # a link, to a directory of dotfiles say, stays one
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f"{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write("\n".join(tables))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise InvalidError(f"{path} cannot be written: {error.strerror}.") from error


def _key(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isascii() and plain.isalnum() else _literal(name)


def _literal(value: Value) -> str:
    """Text and booleans as in JSON, but for DEL, which TOML wants escaped; floats as Python writes them (``inf`` included)."""
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

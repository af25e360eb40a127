"""Settings from layers into a frozen msgspec Struct: directories' defaults < TOML file < environment < flags.

Both daemons and the command line read their settings here, once, in ``__main__``; everything else gets the Struct passed.
Unknown keys fail in every layer, and each error names the layer and the key, never the value (it may be a secret).
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final, TypeVar, get_args

import msgspec

from cove.exception import InvalidError

S = TypeVar("S", bound=msgspec.Struct)

SHARED_VARIABLES: Final[Mapping[str, str]] = {
    "instance": "COVE_INSTANCE",
    "state_dir": "COVE_STATE_DIR",
    "run_dir": "COVE_RUN_DIR",
    "cache_dir": "COVE_CACHE_DIR",
}
"""Settings field to the environment variable that sets it for every part of cove at once."""

_INSTANCE = re.compile(r"|[a-z0-9][a-z0-9-]{0,15}")


def load_service(kind: type[S], *, service: str, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> S:
    """The settings of one daemon: ``service`` is ``router`` or ``node``.

    The file is ``COVE_<SERVICE>_CONFIG``, or ``/etc/cove[-instance]/<service>.toml`` where that exists. Variables are
    ``COVE_<SERVICE>_<FIELD>`` and, below them, :data:`SHARED_VARIABLES`. Fields named like directories get the instance's defaults.

    Args:    flags: field to value from the command line; None stands for "not given".
    Raises:  InvalidError: an unknown key, a value of the wrong type, or a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    prefix = f"COVE_{service.upper()}_"
    instance = check_instance(environ.get("COVE_INSTANCE", ""))
    named_file = environ.get(f"{prefix}CONFIG")
    default_file = Path("/etc", instance_name(instance), f"{service}.toml")
    file = Path(named_file) if named_file else default_file if default_file.is_file() else None
    variables = {name: text for name, text in environ.items() if name != f"{prefix}CONFIG"}
    known = {field.name for field in msgspec.structs.fields(kind)}
    defaults = {name: path for name, path in default_directories(instance).items() if name in known}
    return load(kind, file=file, env_prefix=prefix, flags=flags, environ=variables, defaults=defaults)


def load(
    kind: type[S],
    *,
    file: Path | None,
    env_prefix: str,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> S:
    """Build ``kind`` from its layers; see the module's docstring.

    Args:
        file: TOML with the fields as top-level keys; None for no file.
        env_prefix: variables ``<prefix><FIELD IN CAPITALS>``; lists are separated by commas.
        flags: field to value; None stands for "not given".
        environ: os.environ when left out.
        defaults: replace the defaults of ``kind`` itself.
    Raises:
        InvalidError: an unknown key, a value of the wrong type, a missing required key, or a file that cannot be read.
    """
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, object] = dict(defaults or {})
    for key, value in (_read(file) if file else {}).items():
        values[key] = _convert(key, value, types, source=f"{file}, key {key!r}", strict=True)
    for key, variable, text in _from_environment(os.environ if environ is None else environ, env_prefix, types):
        values[key] = _convert(key, text, types, source=f"environment variable {variable}", strict=False)
    for key, value in (flags or {}).items():
        if value is not None:
            values[key] = _convert(key, value, types, source=f"option --{key.replace('_', '-')}", strict=False)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise InvalidError(f"The settings do not fit together: {error}.", remedy=f"Set it as {env_prefix}<NAME> or in the file.") from error


def flags(kind: type[msgspec.Struct], *, program: str, description: str, arguments: Sequence[str] | None = None) -> dict[str, object]:
    """The command line of a daemon: an option ``--some-name`` for each field of ``kind``; what is not given is None."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    for field in msgspec.structs.fields(kind):
        parser.add_argument(f"--{field.name.replace('_', '-')}", dest=field.name, metavar="VALUE")
    return vars(parser.parse_args(arguments))


def check_instance(name: str) -> str:
    """Return ``name`` if it may tell one cove on this machine from another: at most 16 of ``[a-z0-9-]``; empty is the main one."""
    if not _INSTANCE.fullmatch(name):
        raise InvalidError(
            f"{name[:80]!r} is not a valid instance name.", remedy="Use at most 16 lower-case letters, digits and dashes in COVE_INSTANCE."
        )
    return name


def instance_name(instance: str) -> str:
    """``cove``, or ``cove-<instance>``: what directories and kernel objects of this instance are named after."""
    return f"cove-{instance}" if instance else "cove"


def default_directories(instance: str) -> dict[str, Path]:
    """Where an instance keeps its things; downloads and base images are the same for all, so the cache is shared."""
    name = instance_name(instance)
    return {"state_dir": Path("/var/lib", name), "run_dir": Path("/run", name), "cache_dir": Path("/var/cache/cove")}


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidError(f"The settings file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"The settings file {file} is not valid TOML: {error}.") from error


def _from_environment(environ: Mapping[str, str], prefix: str, types: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """(field, variable, text) of what the environment sets, the shared variables first so that the service's own win."""
    shared = [(key, name, environ[name]) for key, name in SHARED_VARIABLES.items() if name in environ and key in types]
    own = [(name[len(prefix) :].lower(), name, text) for name, text in sorted(environ.items()) if name.startswith(prefix)]
    return shared + own


def _convert(key: str, value: object, types: Mapping[str, object], *, source: str, strict: bool) -> object:
    if key not in types:
        near = difflib.get_close_matches(key, types, n=1) or sorted(types)
        raise InvalidError(f"Unknown setting: {source}.", remedy=f"Did you mean {' or '.join(map(repr, near))}?")
    if isinstance(value, str) and not strict and _is_list(types[key]):
        value = [item.strip() for item in value.split(",") if item.strip()]
    try:
        return msgspec.convert(value, type=types[key], strict=strict, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise InvalidError(f"{source[:1].upper()}{source[1:]} has a wrong value: {error}.") from error


def _is_list(kind: object) -> bool:
    origins = {getattr(part, "__origin__", part) for part in (kind, *get_args(kind))}
    return bool(origins & {list, tuple})


def _decode_path(kind: type, value: object) -> object:
    """Paths come as text (or as paths, from flags); a relative one would mean another place for each daemon's working directory."""
    if issubclass(kind, PurePath) and isinstance(value, str | PurePath) and PurePath(value).is_absolute():
        return kind(value)
    raise ValueError("expected an absolute path")

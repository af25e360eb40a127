"""``RUN --mount=type=…,key=value``. Source: Dockerfile reference, "RUN --mount"."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Final

from cove.dockerfile.model import Mount, MountKind
from cove.dockerfile.problems import cut, unsupported
from cove.exception import InvalidError

_ALIASES: Final = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_SWITCHES: Final = frozenset({"readonly", "readwrite", "required"})
_OPTIONS: Final = {
    MountKind.BIND: frozenset({"target", "source", "from", "readonly", "readwrite"}),
    MountKind.CACHE: frozenset({"target", "source", "from", "readonly", "readwrite", "id", "sharing", "mode", "uid", "gid"}),
    MountKind.TMPFS: frozenset({"target", "size"}),
    MountKind.SECRET: frozenset({"target", "id", "required", "mode", "uid", "gid", "env"}),
}
_SHARING: Final = ("shared", "private", "locked")
_SIZE: Final = re.compile(r"([0-9]{1,15}) ?([kmgt]?)i?b?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_mount(text: str) -> Mount:
    """The mount that ``text``, the value of the flag, describes.

    Raises:
        InvalidError: not ``key=value`` pairs, a key that this kind does not have, or a value that does not fit.
        UnimplementedError: another kind of mount.
    """
    options = dict(_options(text))
    kind = _kind(options.pop("type", "bind"))
    if surplus := sorted(set(options) - _OPTIONS[kind]):
        raise InvalidError(
            f"A mount of type {kind} has no option {cut(surplus[0])}.", remedy=f"It has: {', '.join(sorted(_OPTIONS[kind]))}."
        )
    if "readonly" in options and "readwrite" in options:
        raise InvalidError("A mount is either readonly or readwrite.", remedy="Remove one.")
    if kind is not MountKind.SECRET and not options.get("target"):
        raise InvalidError(f"A mount of type {kind} needs a target.", remedy="Add target=/where/it/appears.")
    if kind is MountKind.SECRET and not options.get("id") and not options.get("target"):
        raise InvalidError("A secret needs an id.", remedy="Add id=NAME.")
    return _mount(kind, options)


def _options(text: str) -> Iterable[tuple[str, str]]:
    try:
        fields = next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise InvalidError(f"The mount {cut(text)!r} is not a list of options.", remedy="Write --mount=type=cache,target=/path.") from error
    for field in fields:
        key, equals, value = field.partition("=")
        key = _ALIASES.get(key.strip().lower(), key.strip().lower())
        if not equals and key not in _SWITCHES:
            raise InvalidError(f"The mount option {cut(field)!r} has no value.", remedy="Write key=value.")
        yield key, value if equals else "true"


def _kind(name: str) -> MountKind:
    if name == "ssh":
        raise unsupported("RUN --mount=type=ssh", instead="Pass a token with --mount=type=secret and use HTTPS.")
    try:
        return MountKind(name)
    except ValueError:
        raise InvalidError(f"There is no mount of type {cut(name)!r}.", remedy=f"Use one of {', '.join(MountKind)}.") from None


def _mount(kind: MountKind, options: dict[str, str]) -> Mount:
    writes = _switch(options, "readwrite", default=kind is not MountKind.BIND)
    sharing = options.get("sharing", "shared")
    if sharing not in _SHARING:
        raise InvalidError(f"A cache cannot have sharing={cut(sharing)}.", remedy=f"Use one of {', '.join(_SHARING)}.")
    if "$" in options.get("from", ""):
        raise InvalidError("A mount's from cannot have variables.", remedy="Add FROM $IMAGE AS name, and use from=name.")
    return Mount(
        kind=kind,
        target=options.get("target", ""),
        source=options.get("source", ""),
        from_=options.get("from") or None,
        id=options.get("id", ""),
        read_only=_switch(options, "readonly", default=not writes),
        required=_switch(options, "required", default=False),
        sharing=sharing,
        mode=_number(options, "mode", base=8),
        uid=_number(options, "uid") or 0,
        gid=_number(options, "gid") or 0,
        size_bytes=_size(options["size"]) if "size" in options else None,
        env=options.get("env") or None,
    )


def _switch(options: dict[str, str], name: str, *, default: bool) -> bool:
    value = options.get(name, "true" if default else "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise InvalidError(f"The mount option {name} takes true or false.", remedy=f"Write {name} or leave it out.")
    return value in ("true", "1")


def _number(options: dict[str, str], name: str, *, base: int = 10) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}" if base == 10 else r"(?:0o?)?[0-7]{1,5}", text):
        raise InvalidError(
            f"The mount option {name} is not a number: {cut(text)!r}.", remedy=f"Write {name}={'0755' if base == 8 else '1000'}."
        )
    return int(text, base)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidError(f"{cut(text)!r} is not a size.", remedy="Write size=64m.")
    return int(match[1]) * _UNITS[match[2].lower()]

"""``WWW-Authenticate`` headers: what a registry asks for. Pure. Source: RFC 9110, section 11; distribution's token specification."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

MAX_HEADER: Final = 8_192
MAX_PARAMETERS: Final = 32

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME: Final = re.compile(rf"[ \t,]*({_TOKEN})(?=[ \t,]|$)(?![ \t]*=)")
_PARAMETER: Final = re.compile(rf"[ \t,]*({_TOKEN})[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|({_TOKEN}))")
_TOKEN68: Final = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_ESCAPED: Final = re.compile(r"\\(.)")


class Challenge(msgspec.Struct, frozen=True):
    """One way to authenticate. ``scheme`` and the names of parameters are lower-case; of repeated parameters the first counts."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """The challenges of all ``WWW-Authenticate`` headers of an answer; what is malformed ends its header."""
    return [challenge for header in headers for challenge in _parse(header[:MAX_HEADER])]


def _parse(header: str) -> list[Challenge]:
    challenges: list[Challenge] = []
    position = 0
    while (scheme := _SCHEME.match(header, position)) is not None:
        position = scheme.end()
        if (token68 := _TOKEN68.match(header, position)) is not None:
            position = token68.end()
        parameters, position = _parameters(header, position)
        challenges.append(Challenge(scheme[1].lower(), parameters))
    return challenges


def _parameters(header: str, position: int) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    while len(found) < MAX_PARAMETERS and (match := _PARAMETER.match(header, position)) is not None:
        position = match.end()
        name, quoted, plain = match.groups()
        found.setdefault(name.lower(), plain if quoted is None else _ESCAPED.sub(r"\1", quoted))
    return found, position

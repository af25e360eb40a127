"""``HEALTHCHECK`` and the durations in it. Source: Dockerfile reference, "HEALTHCHECK"; Go's ``time.ParseDuration``."""

from __future__ import annotations

import re
from typing import Final

from cove.dockerfile.flags import Flags
from cove.dockerfile.model import Healthcheck
from cove.dockerfile.problems import cut
from cove.dockerfile.statements import Statement
from cove.dockerfile.words import GAP, parse_json
from cove.exception import InvalidError

_PART: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(ns|us|µs|μs|ms|s|m|h)")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")
_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SHORTEST_S: Final = 1e-3
_FLAGS: Final = ("interval", "timeout", "start-period", "start-interval", "retries")


def parse_healthcheck(statement: Statement) -> Healthcheck:
    """``HEALTHCHECK CMD command`` or ``HEALTHCHECK NONE``.

    Raises:  InvalidError: neither, or an option that is no duration.
    """
    kind, *rest = GAP.split(statement.rest, maxsplit=1)
    if kind.upper() == "NONE" and not rest:
        Flags(statement.flags, ())
        return Healthcheck(line=statement.line, original=statement.original, command=None)
    if kind.upper() != "CMD" or not rest:
        raise InvalidError("HEALTHCHECK needs CMD with a command, or NONE alone.", remedy="Write HEALTHCHECK CMD command.")
    flags = Flags(statement.flags, _FLAGS)
    command = parse_json(rest[0])
    return Healthcheck(
        line=statement.line,
        original=statement.original,
        command=rest[0] if command is None else command,
        interval_s=parse_duration(flags.text("interval")),
        timeout_s=parse_duration(flags.text("timeout")),
        start_period_s=parse_duration(flags.text("start-period")),
        start_interval_s=parse_duration(flags.text("start-interval")),
        retries=_retries(flags.text("retries")),
    )


def parse_duration(text: str | None) -> float | None:
    """Seconds in a duration such as ``1m30s``; None for none and for zero, which means the default."""
    if text is None or text == "0":
        return None
    if not _DURATION.fullmatch(text):
        raise InvalidError(f"{cut(text)!r} is not a duration.", remedy="Write it with units, such as 30s or 1m30s.")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    if 0 < seconds < _SHORTEST_S:
        raise InvalidError(f"{cut(text)!r} is too short.", remedy="Use 1ms or more.")
    return seconds or None


def _retries(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InvalidError(f"{cut(text)!r} is not a number of retries.", remedy="Write --retries=3.")
    return int(text) or None

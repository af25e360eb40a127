"""What a caller asks for, checked and in the wire's form. Pure; the server checks everything again."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cove.exception import InvalidError, UnimplementedError
from cove.types import check_name
from cove.wire import common_pb2

MAX_SANDBOX_NAME: Final = 63
MIB: Final = 2**20
_END_ACTIONS: Final[Mapping[str, common_pb2.EndAction]] = {
    "terminate": common_pb2.END_ACTION_TERMINATE,
    "pause": common_pb2.END_ACTION_PAUSE,
}
MAX_SECONDS: Final = 2**32 - 1
"""What the wire carries. The longest lifetime is the server's to say: operators set it."""

_MAX_UINT32: Final = 2**32 - 1


def command(args: Sequence[str], *, what: str) -> list[bytes]:
    """``args`` as an argument vector; text that came from bytes (surrogate escapes) becomes those bytes again."""
    for arg in args:
        if not isinstance(arg, str):
            raise InvalidError(f"An argument of {what} is {type(arg).__name__}, not str.", remedy="Pass each argument as a string.")
    return [_encode(arg, what=f"An argument of {what}") for arg in args]


def path(value: str | os.PathLike[str], *, what: str = "path") -> bytes:
    """``value`` as a path inside the sandbox."""
    text = os.fspath(value)
    if not isinstance(text, str):
        raise InvalidError(f"The {what} is {type(text).__name__}, not str.", remedy="Pass it as a string or a path object.")
    if not text:
        raise InvalidError(f"The {what} is empty.", remedy="Name a file or a directory inside the sandbox.")
    return _encode(text, what=f"The {what}")


def environment(env: Mapping[str, str | None] | None, secrets: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Variables of ``secrets`` in order, later ones winning, then ``env`` on top; None leaves a variable out."""
    merged: dict[str, str | None] = {}
    for secret in secrets:
        merged |= secret
    merged |= env or {}
    for name, value in merged.items():
        _check_variable(name, value)
    return {name: value for name, value in merged.items() if value is not None}


def seconds(value: float | None, *, what: str, most: float = math.inf) -> float:
    """``value`` as a positive number of seconds; None is 0, which the wire takes for "none"."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most or not math.isfinite(value):
        limit = "" if most == math.inf else f", at most {most:g}"
        raise InvalidError(f"{what} is {value!r}.", remedy=f"It is a positive number of seconds{limit}.")
    return float(value)


def whole_seconds(value: float | None, *, what: str, most: float) -> int:
    """As :func:`seconds`, rounded up."""
    return math.ceil(seconds(value, what=what, most=most))


def end_action(action: str, *, what: str) -> common_pb2.EndAction:
    """What happens when time is over. Raises: InvalidError: neither "terminate" nor "pause"."""
    if action not in _END_ACTIONS:
        raise InvalidError(f"{what} is {action!r:.80}.", remedy='Give "terminate" or "pause".')
    return _END_ACTIONS[action]


def sandbox_name(name: str | None) -> str:
    """``name`` if a sandbox may have it: fewer than 64 characters. None is the empty string: no name."""
    return "" if name is None else check_name(name, what="Sandbox", max_length=MAX_SANDBOX_NAME)


def tags(value: Mapping[str, str] | None) -> dict[str, str]:
    """``value`` if all of it is text."""
    for key, tag in (value or {}).items():
        if not isinstance(key, str) or not isinstance(tag, str) or not key:
            raise InvalidError("Tags are pairs of strings, with a name that is not empty.", remedy="Convert other values with str().")
    return dict(value or {})


def resources(cpu: float | tuple[float, float] | None, memory: int | tuple[int, int] | None) -> common_pb2.Resources:
    """Cores and MiB, each a request or (request, limit), as the wire has them."""
    cpu_request, cpu_limit = _pair(cpu, what="cpu", unit="cores")
    memory_request, memory_limit = _pair(memory, what="memory", unit="MiB")
    return common_pb2.Resources(
        cpu_request_millis=_fits(math.ceil(cpu_request * 1000), what="cpu"),
        cpu_limit_millis=_fits(math.ceil(cpu_limit * 1000), what="cpu"),
        memory_request_bytes=math.ceil(_fits(memory_request, what="memory") * MIB),
        memory_limit_bytes=math.ceil(_fits(memory_limit, what="memory") * MIB),
    )


def refuse(what: str, **parameters: object) -> None:
    """Refuse parameters that other parts of cove will bring.

    Raises:  UnimplementedError: naming the first that is not empty.
    """
    for name, value in parameters.items():
        if value:
            raise UnimplementedError(f"{what} does not support {name!r} yet.", remedy=f"Leave out {name!r}.")


def _encode(text: str, *, what: str) -> bytes:
    if "\0" in text:
        raise InvalidError(f"{what} has a NUL character.", remedy="Neither arguments nor paths can have one.")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidError(f"{what} is not valid text.", remedy="It has a lone surrogate, which no UTF-8 stands for.") from error


def _check_variable(name: str, value: str | None) -> None:
    """Values stay out of the errors: they may be secrets."""
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise InvalidError(f"{str(name)[:80]!r} cannot name an environment variable.", remedy="Use text without '=' and NUL.")
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise InvalidError(f"The value of environment variable {name[:80]!r} is not usable.", remedy="Use text without NUL, or None.")


def _pair(value: float | tuple[float, float] | None, *, what: str, unit: str) -> tuple[float, float]:
    request, limit = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    for number in (request, limit):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf):
            raise InvalidError(f"{what} is {value!r}.", remedy=f"It is a positive number of {unit}, or a pair of them: (request, limit).")
    if request is not None and limit is not None and limit < request:
        raise InvalidError(f"The limit of {what} is below its request: {value!r}.", remedy="Give (request, limit) in this order.")
    return float(request or 0), float(limit or 0)


def _fits(number: float, *, what: str) -> int:
    if number > _MAX_UINT32:
        raise InvalidError(f"{what} is far too much.", remedy="Ask for less.")
    return math.ceil(number)

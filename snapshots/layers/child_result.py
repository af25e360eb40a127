"""How a child process tells what came of its work: one line of JSON on a descriptor of its own, errors by code as on the wire."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Final

from cove.exception import Error, InternalError, from_code

MAX_RESULT_BYTES: Final = 64 * 1024

Result = Mapping[str, object]


def run_and_report(fd: int, work: Callable[[], Result]) -> int:
    """Do ``work`` and write its result, or its error, to ``fd``. Returns: the exit status."""
    try:
        answer: Mapping[str, object] = {"result": work()}
    except Error as error:
        answer = {"error": [error.code, error.cause, error.remedy, error.retryable]}
    os.write(fd, json.dumps(answer).encode() + b"\n")
    return 0 if "result" in answer else 1


def read_report(line: bytes, what: str) -> Result:
    """The result in a report. Raises: the Error in it; InternalError: it has neither, as when the child was killed."""
    try:
        answer = json.loads(line)
        if "result" in answer:
            return dict(answer["result"])
        code, cause, remedy, retryable = answer["error"]
    except (ValueError, TypeError, KeyError) as error:
        raise InternalError(f"{what} ended without a result.", retryable=True) from error
    raise from_code(code, cause, remedy=remedy, retryable=retryable)

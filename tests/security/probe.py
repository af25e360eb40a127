"""Runs a function of a test inside a sandbox: its source travels, its arguments and result are JSON."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable
from typing import Any

import cove

_CALL = """
import json, sys
json.dump({name}(*json.loads(sys.argv[1])), sys.stdout)
"""


def inside(sandbox: cove.Sandbox, probe: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What ``probe(*arguments)`` returns in the sandbox's Python.

    Args: probe: imports what it needs in its body; nothing else of its module exists there. options: of ``exec``.
    """
    source = "from __future__ import annotations\n" + textwrap.dedent(inspect.getsource(probe)) + _CALL.format(name=probe.__name__)
    process = sandbox.exec("python3", "-c", source, json.dumps(arguments), **options)
    output = process.stdout.read()
    assert process.wait() == 0, f"{probe.__name__} failed inside the sandbox:\n{process.stderr.read()[-2000:]}"
    return json.loads(output)

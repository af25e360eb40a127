"""A step that makes sure that an image has a certain Python. Pure.

What the image has is used where the version fits. Else its package manager (apt-get or apk) is asked for this version, and a virtual
environment of it, which has pip and takes packages, comes first on the ``PATH``.
"""

from __future__ import annotations

import re
from typing import Final

from cove._image import text
from cove.exception import InvalidError

_VERSION: Final = re.compile(r"3\.\d{1,2}")
HOME: Final = "/opt/python"
"""Where the virtual environment is made."""

_SCRIPT: Final = r"""set -e
fits() { "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "VERSION")' 2>/dev/null; }
fitting() { for name in pythonVERSION python3 python; do if fits "$name"; then command -v "$name"; return 0; fi; done; return 1; }
complete() { name=$(fitting) && "$name" -c 'import ensurepip, venv' 2>/dev/null; }
if fits python && python -m pip --version >/dev/null 2>&1; then exit 0; fi
if ! complete; then
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update && apt-get install -y --no-install-recommends pythonVERSION pythonVERSION-venv ca-certificates; } || true
        rm -rf /var/lib/apt/lists/*
    elif command -v apk >/dev/null; then
        apk add --no-cache 'python3~VERSION' || true
    fi
fi
if ! complete; then
    echo 'add_python: the image has no Python VERSION, and its package manager brings none.' >&2
    echo 'Choose a version that its distribution has, or begin with an image that has Python.' >&2
    exit 1
fi
"$(fitting)" -m venv HOME"""


def check_series(version: str) -> str:
    """``version`` if it is one such as ``3.12``.

    Raises:  InvalidError: it is not.
    """
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidError(f"{version!r:.80} is not a version of Python that can be added.", remedy='Give it as a string such as "3.12".')
    return version


def script(version: str, home: str = HOME) -> str:
    """The shell script; ``home`` is where the virtual environment goes."""
    return _SCRIPT.replace("VERSION", check_series(version)).replace("HOME", home)


def commands(version: str) -> tuple[str, ...]:
    """The instructions."""
    return (text.run(script(version)), text.env("PATH", f"{HOME}/bin:$PATH"))

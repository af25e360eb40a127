"""What commands print: tables for people, JSON for scripts. Text from elsewhere is cleaned of what terminals obey."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import typer

_PIPE_COLUMNS: Final = 1000
"""Width where nobody looks at: a table that is searched by programs must not be cut."""

_UNIT: Final = re.compile("_(at|bytes|s)$")
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def print_json(value: object) -> None:
    """``value`` on stdout, indented, in ASCII: what it holds cannot steer a terminal."""
    typer.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table on stdout.

    Args:    empty: said on stderr when there are no rows.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns))
    for row in rows:
        table.add_row(*(Text(clean(cell), overflow="fold") for cell in row))
    if table.row_count:
        Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)
    else:
        typer.echo(empty, err=True)


def print_facts(facts: Mapping[str, object], more: Iterable[tuple[str, str]] = ()) -> None:
    """What is known of one thing on stdout, a line each: what is not known as a dash.

    Args:    facts: by the keys of the JSON form, whose units go. more: lines below.
    """
    rows = [(_UNIT.sub("", key).replace("_", " "), _fact(value)) for key, value in facts.items()]
    print_table(("", ""), [*rows, *more], empty="")


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on stderr what the block does, while it does it and if anybody is looking."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(clean(what))):
        yield


def clean(text: str) -> str:
    """``text`` without control characters, which could move the cursor or worse."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def ago(at: float) -> str:
    """How long ago the Unix time ``at`` was; a dash for 0, which stands for never."""
    return f"{duration(max(0.0, time.time() - at))} ago" if at else "-"


def ahead(at: float) -> str:
    """In how long the Unix time ``at`` will be; a dash if it has been, and for 0."""
    left_s = at - time.time()
    return f"in {duration(left_s)}" if left_s > 0 else "-"


def duration(seconds: float) -> str:
    """``seconds`` in its two largest units: ``3h 5m``."""
    left, parts = int(seconds), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def size(size_bytes: int) -> str:
    """``size_bytes`` in the unit that suits it: ``12.5 MiB``."""
    number, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def when(at: float) -> float | None:
    """The Unix time ``at`` for JSON, where never is null."""
    return at or None

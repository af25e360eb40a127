"""docs/specification.md is true: limits are the constants, the tests and benchmarks that it names are there, figures are the last run's."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from benchmarks.figures import last_runs, rows

PROJECT: Final = Path(__file__).parents[2]
PAGE: Final = (PROJECT / "docs/specification.md").read_text()
UNITS: Final = {
    "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "ms": 0.001, "s": 1, "min": 60, "h": 3600, "day": 86_400, "days": 86_400,
}  # fmt: skip


def _rows(heading: str) -> list[list[str]]:
    """Cells of the tables below a heading, without their head rows."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert section, f"no section {heading!r}"
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] != "what" and not row[0].startswith("---")]


def _resolve(path: str) -> Any:
    """What ``package.module.NAME.attribute`` stands for; of a settings class, its default."""
    parts = path.replace("()", "").split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            value: Any = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            value = getattr(value() if isinstance(value, type) and issubclass(value, (msgspec.Struct, tuple)) else value, name)
        return value
    raise LookupError(path)


def _quantity(text: str) -> float:
    """``1 MiB`` as 1048576; a number with another word behind it as that number."""
    match = re.match(r"([0-9][0-9,.]*) ?([A-Za-z]*)", text)
    assert match, f"{text!r} does not begin with a number"
    return float(match[1].replace(",", "")) * UNITS.get(match[2], 1)


LIMITS: Final = _rows("Limits and defaults")
FIGURES: Final = _rows("Figures")


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row[0])
def test_a_limit_is_the_constants_value(row: list[str]) -> None:
    _, shown, constant = row
    assert _resolve(constant.strip("`")) == pytest.approx(_quantity(shown))


@pytest.mark.parametrize("row", FIGURES, ids=lambda row: row[0])
def test_what_holds_a_figure_is_there(row: list[str]) -> None:
    for place in re.findall(r"`([^`]+\.py)`", row[2]):
        assert (PROJECT / place).is_file(), place


def test_the_figures_are_those_of_the_last_runs() -> None:
    """`python -m benchmarks.figures` writes them."""
    section = PAGE.partition("## Figures\n")[2].partition("\n## ")[0]
    assert "".join(rows(last_runs())) in section


def test_what_holds_a_promise_is_there() -> None:
    for row in _rows("Promises"):
        for place in re.findall(r"`([^`]+\.py)`", row[1]):
            assert (PROJECT / place).is_file(), place

"""``python -m benchmarks.figures``: writes aims and values of each area's last stored run into docs/specification.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from benchmarks.__main__ import BENCHMARKS
from benchmarks.report import RESULTS

PAGE: Final = Path(__file__).parents[1] / "docs/specification.md"
BUSY: Final = 2.0
"""From this load average on, others had as much of the machine as the benchmark."""
_TABLE: Final = re.compile(r"(\| what \| aim \| held by \| last run \|\n\| --- \| --- \| --- \| --- \|\n)(?:\|.*\n)*")


def last_runs() -> dict[str, Any]:
    """The outcome of each area's last stored run, by name. Raises: FileNotFoundError: none is."""
    stored = sorted(RESULTS.glob("*.json"))
    if not stored:
        raise FileNotFoundError("no run is stored: make bench")
    outcomes: dict[str, Any] = {}
    for path in stored:
        outcomes |= json.loads(path.read_text())["benchmarks"]
    return {name: outcomes[name] for name in BENCHMARKS if name in outcomes}


def rows(outcomes: dict[str, Any]) -> list[str]:
    """The table's rows."""
    found = []
    for name, outcome in outcomes.items():
        module = BENCHMARKS[name].__module__.replace(".", "/") + ".py"
        for check in outcome["checks"]:
            relation = "≤" if check["relation"] == "<=" else "≥"
            aim = f"{relation} {check['aim']:g} {check['unit']}".strip()
            value = f"{check['value']:.3g} {check['unit']}".strip()
            holds = check["value"] <= check["aim"] if check["relation"] == "<=" else check["value"] >= check["aim"]
            busy = outcome.get("load_average", 0.0) > BUSY
            remarks = [value, *([] if holds else ["missed"]), *([f"at a load of {outcome['load_average']:.0f}"] if busy else [])]
            found.append(f"| {check['name']} | {aim} | `{module}` | {', '.join(remarks)} |\n")
    return found


def main() -> None:
    page = PAGE.read_text()
    PAGE.write_text(_TABLE.sub(lambda match: match[1] + "".join(rows(last_runs())), page, count=1))


if __name__ == "__main__":
    main()

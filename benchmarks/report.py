"""Prints what was measured as a table, and stores it as JSON."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.series import Check, Outcome
from sandboxd.settings import load

RESULTS: Final = Path(__file__).parent / "results"


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The machine of a run."""

    cores: int
    memory_bytes: int
    kernel: str
    python: str
    runsc: str
    load_average: float
    """Of the minute before: others may have been using the machine."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as it is stored."""

    at: datetime.datetime
    host: Host
    benchmarks: Mapping[str, Outcome]


def this_host() -> Host:
    runsc = subprocess.run([str(load().runsc_path), "--version"], check=True, capture_output=True, text=True).stdout
    return Host(
        cores=os.cpu_count() or 0,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        kernel=platform.release(),
        python=platform.python_version(),
        runsc=runsc.splitlines()[0].removeprefix("runsc version "),
        load_average=os.getloadavg()[0],
    )


def print_outcome(name: str, outcome: Outcome, console: Console) -> None:
    table = Table(title=name, title_justify="left", title_style="bold", expand=True)
    for header in ("measured", "median", "p95", "samples"):
        table.add_column(header, justify="left" if header == "measured" else "right", ratio=5 if header == "measured" else 2)
    for series in outcome.series:
        table.add_row(series.name, f"{series.median:.4g} {series.unit}", f"{series.p95:.4g} {series.unit}", str(len(series.samples)))
    console.print(table)
    for check in outcome.checks:
        console.print(_verdict(check))


def _verdict(check: Check) -> str:
    mark = "[green]holds[/]" if check.holds else "[red]missed[/]"
    return f"  {mark}  {check.name}: {check.value:.3g} {check.unit}, aim {check.relation} {check.aim:g} {check.unit}"


def store(report: Report) -> Path:
    """Write the report where the others are; areas that it lacks stay as the day's last run had them.

    Returns: the file, named after the day and the machine's cores.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{report.at:%Y-%m-%d}-{report.host.cores}.json"
    if path.exists():
        before = msgspec.json.decode(path.read_bytes(), type=Report)
        report = msgspec.structs.replace(report, benchmarks={**before.benchmarks, **report.benchmarks})
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return path

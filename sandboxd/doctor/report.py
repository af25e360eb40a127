"""Shows findings: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from sandboxd.doctor.checks import Finding, Status

_SIGNS: Final = {
    Status.OK: "[green]ok[/]",
    Status.WARNING: "[yellow]warning[/]",
    Status.FAILED: "[red]failed[/]",
    Status.SKIPPED: "[dim]skipped[/]",
}


def as_json(findings: Sequence[Finding]) -> str:
    """``{"ok": bool, "checks": [{"name", "status", "hard", "detail", "remedy"}]}``"""
    return msgspec.json.format(msgspec.json.encode({"ok": is_fit(findings), "checks": findings})).decode()


def is_fit(findings: Sequence[Finding]) -> bool:
    """Whether cove can run here, as far as could be told."""
    return not any(found.status is Status.FAILED for found in findings)


def print_table(findings: Sequence[Finding], console: Console) -> None:
    """A row for each finding; what to do stands below what is wrong."""
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "", "finding"):
        table.add_column(heading, overflow="fold")
    for found in findings:
        remedy = f"\n[bold]{_plain(found.remedy)}[/]" if found.remedy else ""
        table.add_row(found.name, _SIGNS[found.status], _plain(found.detail) + remedy)
    console.print(table)


def _plain(text: str) -> str:
    """Text in which rich finds no markup."""
    return text.replace("[", r"\[")

"""The commands that cove-server adds to ``cove``. Thin: what they do is in ``sandboxd.local`` and ``sandboxd.doctor``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from sandboxd.local.installation import Installation
    from sandboxd.local.status import Status

PANEL: Final = "This machine"

StateDir = Annotated[Path | None, typer.Option(help="Where state is kept; /var/lib/cove, or COVE_STATE_DIR.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def commands(app: typer.Typer) -> None:
    """Add the commands; the entry point of the group ``cove.cli``."""
    for command in (up, down, status, doctor):
        app.command(rich_help_panel=PANEL)(command)


def up(
    state_dir: StateDir = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and stop both with this command.")] = False,
) -> None:
    """Start cove on this machine and write your profile. Does nothing that is done already."""
    from sandboxd.local import commands

    action = commands.foreground if foreground else commands.up
    asyncio.run(action(_find(state_dir), _say))


def down(
    state_dir: StateDir = None,
    keep_sandboxes: Annotated[bool, typer.Option("--keep-sandboxes", help="Leave sandboxes running for the next start.")] = False,
) -> None:
    """Stop cove on this machine, terminate its sandboxes and free all they had."""
    from sandboxd.local import commands

    asyncio.run(commands.down(_find(state_dir), _say, keep_sandboxes=keep_sandboxes))


def status(state_dir: StateDir = None, json: Json = False) -> None:
    """Show what runs on this machine. Exits with 1 unless cove is up."""
    from sandboxd.local.status import find_status

    found = asyncio.run(find_status(_find(state_dir)))
    if json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _print_status(found)
    raise typer.Exit(0 if found.up else 1)


def doctor(json: Json = False) -> None:
    """Check whether this machine is fit for cove, with cause and remedy for what is not. Exits with 1 if it is not fit."""
    from rich.console import Console

    from sandboxd.doctor import examine, report
    from sandboxd.settings import load

    findings = asyncio.run(examine(load()))
    if json:
        typer.echo(report.as_json(findings))
    else:
        report.print_table(findings, Console())
    raise typer.Exit(0 if report.is_fit(findings) else 1)


def _find(state_dir: Path | None) -> Installation:
    from sandboxd.local.installation import find

    return find(state_dir=state_dir.absolute() if state_dir else None)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print_status(found: Status) -> None:
    import time

    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, pid in (("router", found.router_pid), ("node", found.node_pid)):
        console.print(f"{name}: {f'running, process {pid}' if pid else 'not running'}", highlight=False)
    if found.problem:
        console.print(found.problem, markup=False, highlight=False)
        return
    console.print(f"address: {found.address}, version {found.version}", highlight=False)
    if found.tunnel_ca:
        console.print(f"TLS of tunnels: trust {found.tunnel_ca}", markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "state", "sandboxes", "spares", "last seen", "runsc"):
        table.add_column(heading)
    for node in found.nodes:
        seen = f"{max(0.0, time.time() - node.last_seen_at):.0f} s ago"
        table.add_row(node.node_id, node.state, str(node.sandboxes), str(node.spares), seen, node.runsc_version)
    console.print(table)

"""``cove shell``: a terminal in a sandbox."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from cove.cli._run import run
from cove.exception import InvalidError


def commands(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("shell")(shell)


def shell(
    sandbox: Annotated[
        str | None,
        typer.Argument(metavar="[SANDBOX]", help="Enter this one: its id, APP/NAME, or name. Else a new one is made for the shell."),
    ] = None,
    cmd: Annotated[str, typer.Option("--cmd", "-c", help="Command to run, split as a shell would, but run without one.")] = "/bin/bash",
    pty: Annotated[bool | None, typer.Option("--pty/--no-pty", help="Run on a terminal; by default where there is one here.")] = None,
    cpu: Annotated[float | None, typer.Option(help="Cores of the new sandbox.")] = None,
    memory: Annotated[int | None, typer.Option(metavar="MIB", help="Memory of the new sandbox.")] = None,
    block_network: Annotated[bool, typer.Option("--block-network", help="No network in the new sandbox.")] = False,
    image: Annotated[
        str | None, typer.Option(help="An image's id, a reference to a registry, Debian with this Python (3.11), or a tarball on the node.")
    ] = None,
    timeout: Annotated[int | None, typer.Option(metavar="SECONDS", help="Lifetime of the new sandbox; a day when left out.")] = None,
) -> None:
    """Open a shell in a new sandbox, which ends with it, or in a running one. Exits with the shell's exit code."""
    from cove.cli import _shells

    try:
        command = shlex.split(cmd)
    except ValueError as error:
        raise InvalidError(f"--cmd cannot be split into arguments: {error}.") from error
    if not command:
        raise InvalidError("--cmd is empty.", remedy="Leave it out for /bin/bash.")
    wanted = _shells.Wanted(cpu, memory, block_network, image, timeout)
    if sandbox is None:
        raise typer.Exit(run(_shells.in_new(wanted, command, pty=pty)))
    ignored = [f"--{name.replace('_', '-')}" for name, value in wanted._asdict().items() if value]
    if ignored:
        typer.echo(f"Warning: {', '.join(ignored)} only make sense for a new sandbox.", err=True)
    raise typer.Exit(run(_shells.in_running(sandbox, command, pty=pty)))

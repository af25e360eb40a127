"""``cove shell``: a terminal in a sandbox."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cove.cli._run import run
from cove.cli._show import progress
from cove.exception import InvalidError

if TYPE_CHECKING:
    from cove._async.image import _Image
    from cove._async.sandbox import _Sandbox

APP: Final = "cove-shell"
"""App of the sandboxes that shells make."""

LIFETIME_S: Final = 24 * 60 * 60
"""The longest a sandbox may have: somebody sits in it, and it is ended with the shell."""


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
        str | None, typer.Option(help="Debian with this Python (such as 3.12), or a rootfs tarball on the node by path.")
    ] = None,
    timeout: Annotated[int | None, typer.Option(metavar="SECONDS", help="Lifetime of the new sandbox; a day when left out.")] = None,
) -> None:
    """Open a shell in a new sandbox, which ends with it, or in a running one. Exits with the shell's exit code."""
    try:
        command = shlex.split(cmd)
    except ValueError as error:
        raise InvalidError(f"--cmd cannot be split into arguments: {error}.") from error
    if not command:
        raise InvalidError("--cmd is empty.", remedy="Leave it out for /bin/bash.")
    options = {"cpu": cpu, "memory": memory, "block_network": block_network, "image": image, "timeout": timeout}
    if sandbox is None:
        raise typer.Exit(run(_in_new(command, pty, options)))
    ignored = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if ignored:
        typer.echo(f"Warning: {', '.join(ignored)} only make sense for a new sandbox.", err=True)
    raise typer.Exit(run(_in_running(sandbox, command, pty)))


async def _in_running(reference: str, command: list[str], pty: bool | None) -> int:
    from cove.cli import _attach, _sandboxes

    return await _attach.run_in(await _sandboxes.find(reference), command, pty=pty)


async def _in_new(command: list[str], pty: bool | None, options: dict[str, Any]) -> int:
    from cove.cli import _attach

    with progress("Starting a sandbox"):
        sandbox = await _make(options)
    try:
        return await _attach.run_in(sandbox, command, pty=pty)
    finally:
        await sandbox.terminate()


async def _make(options: dict[str, Any]) -> _Sandbox:
    """The new sandbox. One that was asked for when Ctrl-C came is ended, not forgotten."""
    creation = asyncio.ensure_future(_create(**options))
    try:
        return await asyncio.shield(creation)
    except asyncio.CancelledError:
        await (await creation).terminate()
        raise


async def _create(image: str | None, timeout: int | None, **options: Any) -> _Sandbox:
    from cove._async.app import _App
    from cove._async.sandbox import _Sandbox

    app = await _App.lookup(APP, create_if_missing=True)
    lifetime_s = LIFETIME_S if timeout is None else timeout
    return await _Sandbox.create(app=app, image=_image(image), timeout=lifetime_s, **options)


def _image(text: str | None) -> _Image | None:
    from cove._async.image import _Image

    if text is None:
        return None
    return _Image.from_rootfs(text) if text.startswith("/") else _Image.debian_slim(text)

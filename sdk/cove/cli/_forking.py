"""``cove sandbox snapshot``, ``fork``, ``pause`` and ``resume``."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cove.cli._run import end, run
from cove.cli._show import print_json, progress

if TYPE_CHECKING:
    from cove.exception import Error

Reference = Annotated[str, typer.Argument(metavar="SANDBOX", help="Its id, APP/NAME, or the name of a running one.")]
References = Annotated[list[str], typer.Argument(metavar="SANDBOX...", help="Ids, APP/NAMEs, or names of running ones.")]
Json = Annotated[bool, typer.Option("--json/--no-json", help="Print JSON.")]


def snapshot(
    sandbox: Reference,
    ttl: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.001, help="Remove it after so long; it is kept when left out.")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.001, max=600, help="How long it may take.")] = 120.0,
    json: Json = False,
) -> None:
    """Take a snapshot of a sandbox with its memory and processes, and print its id. The sandbox goes on."""
    with progress(f"Taking a snapshot of {sandbox}"):
        snapshot_id = run(_take(sandbox, ttl, timeout))
    if json:
        print_json({"snapshot_id": snapshot_id})
    else:
        typer.echo(snapshot_id)


def fork(
    sandbox: Reference,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100, help="How many.")] = 1,
    json: Json = False,
) -> None:
    """Make sandboxes that go on from where one is now, and print their ids. It goes on, too."""
    with progress(f"Forking {sandbox}"):
        sandbox_ids = run(_fork(sandbox, count))
    if json:
        print_json({"sandbox_ids": sandbox_ids})
    else:
        typer.echo("\n".join(sandbox_ids))


def pause(sandboxes: References) -> None:
    """Write the memory of sandboxes to disk and free it. They go on when something needs them, or by `cove sandbox resume`."""
    with progress("Pausing"):
        failures = run(_pause(sandboxes))
    end(failures)


def resume(sandboxes: References) -> None:
    """Let paused sandboxes go on."""
    with progress("Resuming"):
        failures = run(_resume(sandboxes))
    end(failures)


def _take(sandbox: str, ttl_s: float | None, timeout_s: float) -> Coroutine[Any, Any, str]:
    from cove.cli import _snapshots

    return _snapshots.take(sandbox, ttl_s, timeout_s)


def _fork(sandbox: str, count: int) -> Coroutine[Any, Any, list[str]]:
    from cove.cli import _snapshots

    return _snapshots.fork(sandbox, count)


def _pause(sandboxes: list[str]) -> Coroutine[Any, Any, list[Error]]:
    from cove.cli import _sandboxes

    return _sandboxes.pause(sandboxes)


def _resume(sandboxes: list[str]) -> Coroutine[Any, Any, list[Error]]:
    from cove.cli import _sandboxes

    return _sandboxes.resume(sandboxes)

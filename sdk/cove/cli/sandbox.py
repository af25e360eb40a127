"""``cove sandbox``: what runs, and what can be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cove.cli._forking import fork, pause, resume, snapshot
from cove.cli._run import end, run
from cove.cli._show import ago, ahead, print_facts, print_json, print_table, progress
from cove.exception import Error, InvalidError

if TYPE_CHECKING:
    from cove.types import TerminalLink
    from cove.wire import control_pb2, data_pb2

Reference = Annotated[str, typer.Argument(metavar="SANDBOX", help="Its id, APP/NAME, or the name of a running one.")]
Json = Annotated[bool, typer.Option("--json/--no-json", help="Print JSON.")]
Environment = Annotated[list[str] | None, typer.Option("--env", metavar="KEY=VALUE", help="Environment variable. Repeatable.")]
Workdir = Annotated[str | None, typer.Option(help="Working directory; the sandbox's when left out.")]
User = Annotated[str | None, typer.Option(help="User: name, uid, name:group or uid:gid; root when left out.")]

AS_IT_COMES: Final = {"allow_interspersed_args": False, "ignore_unknown_options": True}
"""Context of a command whose arguments are another command: options end where that begins."""


def commands(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    from cove.cli import _ingress  # it has this module's kinds of arguments

    group = typer.Typer(help="List, enter, inspect and end sandboxes.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("info")(info)
    group.command("ps")(ps)
    group.command("logs")(logs)
    group.command("network")(network)
    group.command("exec", context_settings=AS_IT_COMES)(exec_)
    group.command("terminal", context_settings=AS_IT_COMES)(terminal)
    group.command("tunnels")(_ingress.tunnels)
    group.command("connect")(_ingress.connect)
    group.command("cp")(cp)
    group.command("snapshot")(snapshot)
    group.command("fork")(fork)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("terminate")(terminate)
    app.add_typer(group, name="sandbox")


def list_(
    app: Annotated[str | None, typer.Option(help="Only sandboxes of this App.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only those with this tag. Repeatable: all must match.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Stopped ones too.")] = False,
    json: Json = False,
) -> None:
    """List sandboxes, newest first."""
    found = run(_list(app, tag or [], all_))
    if json:
        print_json([_facts(one) for one in found])
        return
    print_table(
        ("Sandbox", "Name", "State", "Created", "Node", "Tags"),
        [_row(one) for one in map(_facts, found)],
        empty="No sandboxes." if all_ else "No running sandboxes; --all shows stopped ones.",
    )


def info(sandbox: Reference, json: Json = False) -> None:
    """Show all that is known of one sandbox."""
    facts = _facts(run(_info(sandbox)))
    if json:
        print_json(facts)
        return
    times = {key: ago(value or 0) for key, value in facts.items() if key in ("created_at", "started_at", "ended_at")}
    shown = {**facts, **times, "expires_at": ahead(facts["expires_at"] or 0)}
    print_facts(shown)


def ps(
    sandbox: Reference,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Ended ones too.")] = False,
    json: Json = False,
) -> None:
    """List the processes that were started from outside: the main process and those of exec."""
    from cove.cli._sandboxes import process_facts

    found = [process_facts(status) for status in run(_processes(sandbox, all_))]
    if json:
        print_json(found)
        return
    print_table(
        ("Process", "PID", "State", "Exit code", "Started", "Command"),
        [
            (one["exec_id"], str(one["pid"]), one["state"], _text(one["returncode"]), ago(one["started_at"] or 0), " ".join(one["command"]))
            for one in found
        ],
        empty="No processes." if all_ else "No running processes; --all shows ended ones.",
    )


def logs(
    sandbox: Reference,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the sandbox ends.")] = False,
) -> None:
    """Print what the main process wrote, and on stderr the sandbox's own log if it was made with verbose=True."""
    run(_logs(sandbox, follow))


def network(
    sandbox: Reference,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the sandbox ends.")] = False,
    allowlist: Annotated[bool, typer.Option("--allowlist", help="Print the lists that permit what it has reached so far.")] = False,
    json: Json = False,
) -> None:
    """Print what a sandbox has reached and was refused, with what would allow it."""
    if follow and allowlist:
        raise InvalidError("--follow and --allowlist contradict each other.", remedy="Pass one of them.")
    run(_network(sandbox, follow, allowlist, json))


def exec_(
    sandbox: Reference,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="A program and its arguments; no shell is involved.")],
    pty: Annotated[bool | None, typer.Option("--pty/--no-pty", help="Run on a terminal; by default where there is one here.")] = None,
    workdir: Workdir = None,
    env: Environment = None,
    user: User = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Kill it after so long; the exit code is then 124.")] = None,
) -> None:
    """Run a command in a sandbox, with the standard streams of this one. Exits with its exit code."""
    from cove.cli._sandboxes import pairs

    given = _command(command, "cove sandbox exec [OPTIONS] SANDBOX -- COMMAND...")
    options = {"workdir": workdir, "env": pairs(env or [], what="--env"), "user": user, "timeout": timeout}
    raise typer.Exit(run(_exec(sandbox, given, pty, options)))


def terminal(
    sandbox: Reference,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="A program and its arguments; /bin/bash when left out.")
    ] = None,
    workdir: Workdir = None,
    user: User = None,
    json: Json = False,
) -> None:
    """Print a link that opens a terminal in a web browser, once and within two minutes."""
    given = _command(command, "cove sandbox terminal [OPTIONS] SANDBOX [-- COMMAND...]") if command else []
    link = run(_terminal(sandbox, given, workdir, user))
    if json:
        print_json({"url": link.url, "expires_at": link.expires_at})
    else:
        typer.echo(link.url)


def cp(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A path, or SANDBOX:path.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="A path, or SANDBOX:path. Into it, if it is a directory.")],
) -> None:
    """Copy a file, or a directory with everything in it, into or out of a sandbox."""
    with progress(f"Copying {source} to {target}"):
        run(_cp(source, target))


def terminate(
    sandboxes: Annotated[list[str], typer.Argument(metavar="SANDBOX...", help="Ids, APP/NAMEs, or names of running ones.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when they have stopped and everything is freed.")] = False,
) -> None:
    """End sandboxes. Those that have ended already are left alone."""
    with progress("Waiting for the end" if wait else "Terminating"):
        failures = run(_terminate(sandboxes, wait=wait))
    end(failures)


async def _list(app: str | None, tags: list[str], include_stopped: bool) -> list[control_pb2.SandboxInfo]:
    from cove.cli import _sandboxes

    wanted = _sandboxes.pairs(tags, what="--tag")
    return [one async for one in _sandboxes.list_(app=app, tags=wanted, include_stopped=include_stopped)]


async def _info(reference: str) -> control_pb2.SandboxInfo:
    from cove.cli import _sandboxes

    return await _sandboxes.get(await _sandboxes.find(reference))


async def _processes(reference: str, include_ended: bool) -> list[data_pb2.ProcessStatus]:
    from cove.cli import _sandboxes

    return await _sandboxes.processes(await _sandboxes.find(reference), include_ended=include_ended)


async def _logs(reference: str, follow: bool) -> None:
    from cove.cli import _logs, _sandboxes

    await _logs.print_logs(await _sandboxes.find(reference), follow=follow)


async def _network(reference: str, follow: bool, allowlist: bool, as_json: bool) -> None:
    from cove.cli import _network, _sandboxes

    sandbox = await _sandboxes.find(reference)
    if allowlist:
        await _network.print_allowlist(sandbox)
    elif follow:
        await _network.follow(sandbox, as_json=as_json)
    else:
        await _network.show(sandbox, as_json=as_json)


async def _exec(reference: str, command: list[str], pty: bool | None, options: dict[str, Any]) -> int:
    from cove.cli import _attach, _sandboxes

    return await _attach.run_in(await _sandboxes.find(reference), command, pty=pty, **options)


async def _terminal(reference: str, command: list[str], workdir: str | None, user: str | None) -> TerminalLink:
    from cove.cli import _sandboxes

    return await (await _sandboxes.find(reference)).create_terminal(*command, workdir=workdir, user=user)


async def _cp(source: str, target: str) -> None:
    from cove.cli import _copy, _sandboxes

    there, here = _copy.parse(source), _copy.parse(target)
    if there is not None and here is None:
        await _copy.download(await _sandboxes.find(there.reference), there.path, Path(target))
    elif here is not None and there is None:
        await _copy.upload(await _sandboxes.find(here.reference), Path(source), here.path)
    else:
        raise InvalidError("One of the two must be in a sandbox, the other here.", remedy="Write SANDBOX:path for the one in the sandbox.")


async def _terminate(references: list[str], *, wait: bool) -> list[Error]:
    from cove.cli import _sandboxes

    return await _sandboxes.terminate(references, wait=wait)


def _command(given: list[str], usage: str) -> list[str]:
    """The command after the dashes. Raises: InvalidError: there is none, or an option where it should be."""
    command = given[1:] if given[0] == "--" else given
    if not command or (command is given and command[0].startswith("-")):
        raise InvalidError("There is no command to run.", remedy=f"Write: {usage}")
    return command


def _facts(one: control_pb2.SandboxInfo) -> dict[str, Any]:
    from cove.cli._sandboxes import facts

    return facts(one)


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    return (facts["sandbox_id"], facts["name"] or "", facts["state"], ago(facts["created_at"] or 0), facts["node_id"] or "", _tags(facts))


def _tags(facts: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in facts["tags"].items())


def _text(value: object) -> str:
    return "-" if value is None else str(value)

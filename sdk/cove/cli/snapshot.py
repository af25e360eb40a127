"""``cove snapshot``: what memory snapshots there are, and comparing, verifying, keeping and removing them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cove.cli._run import end, run
from cove.cli._show import ago, ahead, print_facts, print_json, print_table, progress, size
from cove.exception import Error

if TYPE_CHECKING:
    from cove.wire import snapshot_pb2

References = Annotated[list[str], typer.Argument(metavar="SNAPSHOT...", help="Ids (sn-…).")]
Json = Annotated[bool, typer.Option("--json/--no-json", help="Print JSON.")]


def commands(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer(help="List, compare, verify, keep and remove snapshots of running sandboxes.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("diff")(diff)
    group.command("verify")(verify)
    group.command("pin")(pin)
    group.command("unpin")(unpin)
    group.command("rm")(rm)
    app.add_typer(group, name="snapshot")


def list_(
    sandbox: Annotated[
        str | None, typer.Option(metavar="SANDBOX", help="Only those of this sandbox: its id, APP/NAME, or the name of a running one.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    json: Json = False,
) -> None:
    """List snapshots, newest first."""
    found = run(_list(limit, sandbox))
    if json:
        print_json([_facts(one) for one in found])
        return
    print_table(("Snapshot", "Sandbox", "Created", "Expires", "Memory", "Stored", "Parent"), map(_row, found), empty="No snapshots.")


def show(snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its id (sn-…).")], json: Json = False) -> None:
    """Show all that is known of one snapshot."""
    info = run(_get(snapshot))
    facts = _facts(info)
    if json:
        print_json(facts)
        return
    machine, processes, children, ports = (facts.pop(key) for key in ("machine", "processes", "children", "ports"))
    shown = {
        **facts,
        "created_at": ago(info.created_at),
        "expires_at": _expires(info),
        "memory_bytes": size(info.memory_bytes),
        "stopped_s": f"{info.stopped_s * 1000:.0f} ms",
    }
    rows = [("gVisor", f"{machine['runsc_version']} on {machine['architecture']}, {machine['platform']}")]
    rows.extend(("process", _process(one)) for one in processes)
    rows.extend(("child", f"{_process(one)}, of {one['parent_pid']}") for one in children or ())
    rows.extend(("port", _port(one)) for one in ports or ())
    print_facts(shown, rows)


def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="The id of one (sn-…).")],
    new: Annotated[str, typer.Argument(metavar="B", help="The id of another.")],
    json: Json = False,
) -> None:
    """Show what is different in the snapshot B: files, processes, ports that something listens on."""
    with progress("Comparing"):
        differences = run(_diff(old, new))
    if json:
        print_json(differences)
        return
    ports = differences["ports"]
    rows = [(one["kind"], "file", one["path"]) for one in differences["files"]]
    rows += [(one["kind"], "process", _process(one)) for one in differences["processes"]]
    rows += [(one["kind"], "port", _port(one)) for one in ports or ()]
    rows += [("unknown", "ports", "could not be seen, or an older cove took one of the snapshots")] if ports is None else []
    print_table(("", "What", ""), rows, empty="No differences.")


def verify(snapshots: References) -> None:
    """Have every byte compared with what it was. Exits with 1 if something is damaged."""
    with progress("Verifying"):
        failures = run(_verify(snapshots))
    end(failures)


def pin(snapshots: References) -> None:
    """Keep snapshots: they neither expire nor can be removed."""
    end(run(_pin(snapshots)))


def unpin(
    snapshots: References,
    ttl: Annotated[float | None, typer.Option(metavar="SECONDS", min=0.001, help="Remove them after so long; else they stay.")] = None,
) -> None:
    """Let snapshots be removed again."""
    end(run(_unpin(snapshots, ttl)))


def rm(snapshots: References) -> None:
    """Remove snapshots. One that cannot go, since it is pinned, does not keep the others. Sandboxes restored from them go on."""
    end(run(_rm(snapshots)))


def _list(limit: int, sandbox: str | None) -> Coroutine[Any, Any, list[snapshot_pb2.SnapshotInfo]]:
    from cove.cli import _snapshots

    return _snapshots.list_(limit, sandbox)


def _get(snapshot_id: str) -> Coroutine[Any, Any, snapshot_pb2.SnapshotInfo]:
    from cove.cli import _snapshots

    return _snapshots.get(snapshot_id)


async def _diff(old_id: str, new_id: str) -> dict[str, Any]:
    from cove.cli import _snapshots

    return _snapshots.differences(await _snapshots.diff(old_id, new_id))


def _verify(snapshot_ids: list[str]) -> Coroutine[Any, Any, list[Error]]:
    from cove.cli import _snapshots

    return _snapshots.verify(snapshot_ids)


def _pin(snapshot_ids: list[str]) -> Coroutine[Any, Any, list[Error]]:
    from cove.cli import _snapshots

    return _snapshots.pin(snapshot_ids)


def _unpin(snapshot_ids: list[str], ttl_s: float | None) -> Coroutine[Any, Any, list[Error]]:
    from cove.cli import _snapshots

    return _snapshots.unpin(snapshot_ids, ttl_s)


def _rm(snapshot_ids: list[str]) -> Coroutine[Any, Any, list[Error]]:
    from cove.cli import _snapshots

    return _snapshots.remove(snapshot_ids)


def _facts(info: snapshot_pb2.SnapshotInfo) -> dict[str, Any]:
    from cove.cli._snapshots import facts

    return facts(info)


def _row(info: snapshot_pb2.SnapshotInfo) -> tuple[str, ...]:
    stored = "yes" if info.stored else "no"
    shown = (ago(info.created_at), _expires(info), size(info.memory_bytes), stored)
    return (info.snapshot_id, info.sandbox_id, *shown, info.parent_snapshot_id or "-")


def _expires(info: snapshot_pb2.SnapshotInfo) -> str:
    return "pinned" if info.pinned else ahead(info.expires_at) if info.expires_at else "never"


def _process(process: dict[str, Any]) -> str:
    exec_id = process.get("exec_id")
    return f"{exec_id}: {process['program']}, pid {process['pid']}" if exec_id else f"{process['program']}, pid {process['pid']}"


def _port(port: dict[str, Any]) -> str:
    address = f"[{port['address']}]" if ":" in port["address"] else port["address"]
    return f"{port['protocol']} {address}:{port['port']}"

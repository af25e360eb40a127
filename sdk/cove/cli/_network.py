"""What ``cove sandbox network`` prints: a sandbox's egress log, or the allowlist that it would need."""

from __future__ import annotations

import dataclasses
import json

import typer

from cove._async.sandbox import _Sandbox
from cove.cli._show import ago, clean, print_json, print_table
from cove.types import NetworkRecord


async def show(sandbox: _Sandbox, *, as_json: bool) -> None:
    """The log as it is now, the latest change last."""
    records = [record async for record in sandbox.network_log()]
    if as_json:
        print_json([dataclasses.asdict(record) for record in records])
        return
    columns = ("Last", "Count", "Verdict", "Destination", "Name", "Rule", "Would allow it")
    print_table(columns, [_row(record) for record in records], empty="The sandbox has not tried to reach anything.")


async def follow(sandbox: _Sandbox, *, as_json: bool) -> None:
    """Records as they come and change, one a line, until the sandbox ends."""
    async for record in sandbox.network_log(follow=True):
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(record)))
            continue
        _, count, verdict, destination, name, rule, remedy = _row(record)
        parts = (verdict, destination, name, f"rule={rule}", f"count={count}", remedy)
        typer.echo(clean(" ".join(part for part in parts if part)))


async def print_allowlist(sandbox: _Sandbox) -> None:
    """Arguments for ``Sandbox.create`` that permit what the sandbox has reached so far, as JSON."""
    summary = await sandbox.network_summary()
    print_json({"cidr_allowlist": summary.used_cidrs, "domain_allowlist": summary.used_domains})


def _row(record: NetworkRecord) -> tuple[str, ...]:
    target = record.address and (f"{record.address}:{record.port}" if record.port else record.address)
    verdict = "denied" if record.event == "egress_denied" else "allowed"
    return ago(record.last_at), str(record.count), verdict, f"{record.protocol} {target}".strip(), record.name, record.rule, record.remedy

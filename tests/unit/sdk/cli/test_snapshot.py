"""``cove snapshot``, ``cove sandbox snapshot`` and ``cove sandbox fork``: what scripts rely on, and one failure beside others."""

from __future__ import annotations

import pytest

from cove.wire import image_pb2
from tests.support.fake_server import FakeServer, World
from tests.unit.sdk.cli.conftest import Cli, add


@pytest.fixture
def world(server: FakeServer) -> World:
    return server.world


def test_without_a_profile_every_command_says_cove_up(run: Cli) -> None:
    nouns = (["snapshot", "list"], ["sandbox", "snapshot", "x"], ["sandbox", "fork", "x"])
    for command in (
        *nouns,
        ["snapshot", "diff", "sn-x", "sn-y"],
        *(["snapshot", verb, "sn-x"] for verb in ("show", "verify", "pin", "unpin", "rm")),
    ):
        result = run(*command)
        assert result.exit_code == 1, command
        assert "cove up" in result.err, command


def test_json_has_stable_keys(run: Cli, world: World) -> None:
    info = world.memories.add("sb-1")
    expected = {
        "snapshot_id": info.snapshot_id,
        "sandbox_id": "sb-1",
        "parent_snapshot_id": None,
        "image_id": info.image_id,
        "created_at": 1.0,
        "expires_at": None,
        "pinned": False,
        "memory_bytes": 3 * 2**20,
        "stored": False,
        "stopped_s": 0.05,
        "processes": [{"exec_id": "main", "pid": 2, "pty": False, "program": "python3"}],
        "children": None,
        "ports": None,
        "machine": {"architecture": "x86_64", "runsc_version": "r-1", "runsc_build": None, "platform": "systrap", "cpu_features": ["sse2"]},
    }
    assert run("snapshot", "list", "--json").json == [expected]
    assert run("snapshot", "show", info.snapshot_id, "--json").json == expected


def test_tables_are_for_people_and_names_cannot_steer_their_terminals(run: Cli, world: World) -> None:
    assert run("snapshot", "list").err == "No snapshots.\n"
    info = world.memories.add("sb-1")
    info.processes[0].program = "\x1b[2J"
    info.pinned = True
    table = run("snapshot", "list").out
    assert info.snapshot_id in table and "3.0 MiB" in table and "pinned" in table
    shown = run("snapshot", "show", info.snapshot_id).out
    assert "\x1b" not in shown and "r-1 on x86_64, systrap" in shown


def test_what_was_seen_in_it_is_shown(run: Cli, world: World) -> None:
    info = world.memories.add("sb-1")
    info.children.children.add(pid=9, parent_pid=2, program="sh\x1b[2J")
    info.ports.ports.add(protocol="tcp", address="::1", port=80)
    facts = run("snapshot", "show", info.snapshot_id, "--json").json
    assert facts["children"] == [{"pid": 9, "parent_pid": 2, "program": "sh\x1b[2J"}]
    assert facts["ports"] == [{"protocol": "tcp", "address": "::1", "port": 80}]
    shown = run("snapshot", "show", info.snapshot_id).out
    assert "tcp [::1]:80" in shown and "pid 9, of 2" in shown and "\x1b" not in shown


def test_two_are_compared(run: Cli, world: World) -> None:
    old, new = world.memories.add("sb-1"), world.memories.add("sb-1")
    world.images.known |= {info.image_id: image_pb2.ImageInfo(image_id=info.image_id) for info in (old, new)}
    blind = run("snapshot", "diff", old.snapshot_id, new.snapshot_id)
    assert "ports" in blind.out and run("snapshot", "diff", old.snapshot_id, new.snapshot_id, "--json").json["ports"] is None
    world.images.changes = [image_pb2.FileChange(path=b"tmp/\x1b", kind="added")]
    for info in (old, new):
        info.ports.SetInParent()
    new.ports.ports.add(protocol="udp", address="0.0.0.0", port=53)
    new.processes.add(exec_id="ex-2", pid=9, program="sh")
    told = run("snapshot", "diff", old.snapshot_id, new.snapshot_id, "--json").json
    assert told == {
        "files": [{"kind": "added", "path": "/tmp/\x1b"}],
        "processes": [
            {"kind": "kept", "exec_id": "main", "pid": 2, "program": "python3"},
            {"kind": "started", "exec_id": "ex-2", "pid": 9, "program": "sh"},
        ],
        "ports": [{"kind": "opened", "protocol": "udp", "address": "0.0.0.0", "port": 53}],
    }
    shown = run("snapshot", "diff", old.snapshot_id, new.snapshot_id).out
    assert "udp 0.0.0.0:53" in shown and "ex-2: sh, pid 9" in shown and "\x1b" not in shown
    missing = run("snapshot", "diff", old.snapshot_id, "sn-x")
    assert missing.exit_code == 1 and "sn-x" in missing.err


def test_lists_are_limited_to_what_is_asked_for(run: Cli, world: World) -> None:
    sandbox = add(world, "web")
    world.memories.add("sb-1")
    mine = [world.memories.add(sandbox.info.sandbox_id).snapshot_id for _ in range(3)]
    assert [one["snapshot_id"] for one in run("snapshot", "list", "--sandbox", "web", "--json").json] == mine
    assert len(run("snapshot", "list", "--limit", "2", "--json").json) == 2


def test_keeping_and_removing(run: Cli, world: World) -> None:
    kept, gone = world.memories.add("sb-1"), world.memories.add("sb-1")
    assert run("snapshot", "pin", kept.snapshot_id).exit_code == 0 and kept.pinned
    result = run("snapshot", "rm", kept.snapshot_id, "nonsense", gone.snapshot_id)
    assert result.exit_code == 1 and "pinned" in result.err and "nonsense" in result.err
    assert list(world.memories.known) == [kept.snapshot_id]
    assert run("snapshot", "unpin", kept.snapshot_id, "--ttl", "5").exit_code == 0
    assert (kept.pinned, kept.expires_at) == (False, 5.0)


def test_verifying_fails_if_one_is_damaged(run: Cli, world: World) -> None:
    good, bad = world.memories.add("sb-1"), world.memories.add("sb-1")
    world.memories.damaged.add(bad.snapshot_id)
    assert run("snapshot", "verify", good.snapshot_id).exit_code == 0
    result = run("snapshot", "verify", bad.snapshot_id, good.snapshot_id)
    assert result.exit_code == 1 and "pages.img" in result.err


def test_taking_and_forking(run: Cli, world: World) -> None:
    add(world, "web")
    taken = run("sandbox", "snapshot", "web", "--ttl", "60").out.strip()
    assert world.memories.known[taken].expires_at == 60
    assert run("sandbox", "snapshot", "web", "--json").json["snapshot_id"] in world.memories.known
    assert len(run("sandbox", "fork", "web", "-n", "3").out.split()) == 3
    assert len(run("sandbox", "fork", "web", "--json").json["sandbox_ids"]) == 1
    assert len(world.sandboxes) == 5
    assert run("sandbox", "fork", "web", "-n", "101").exit_code == 2

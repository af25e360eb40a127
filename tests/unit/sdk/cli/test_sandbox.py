"""``cove sandbox``: what scripts rely on, what hostile names and outputs cannot do, and which sandbox is meant."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cove.cli import _sandboxes
from cove.exception import ConflictError, NotFoundError
from cove.wire import common_pb2, data_pb2, network_pb2
from tests.support.fake_server import FakeServer, World
from tests.support.fake_server.world import Process
from tests.unit.sdk.cli.conftest import Cli, add

ESCAPE = "\x1b[2J"


class Meanwhile(ConflictError):
    """Ordered as the answer to a call: when the server gets there, ``happens``. The answer itself is that nobody reads input any more."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__("closed", code="stdin_closed")
        self._happens = happens

    def __str__(self) -> str:
        self._happens()
        return "closed"


@pytest.fixture
def world(server: FakeServer) -> World:
    return server.world


def test_without_a_profile_every_command_says_cove_up(run: Cli) -> None:
    for command in (
        ["list"],
        ["info", "x"],
        ["ps", "x"],
        ["logs", "x"],
        ["network", "x"],
        ["exec", "x", "true"],
        ["terminate", "x"],
        ["cp", "x:/a", "."],
    ):
        result = run("sandbox", *command)
        assert result.exit_code == 1, command
        assert "cove up" in result.err, command


def test_list_json_has_stable_keys(run: Cli, world: World) -> None:
    sandbox = add(world, "web", k="v")
    sandbox.info.created_at = 5.0
    assert run("sandbox", "list", "--json").json == [
        {
            "sandbox_id": sandbox.info.sandbox_id,
            "name": "web",
            "app_id": world.apps["app"],
            "state": "running",
            "returncode": None,
            "end_reason": None,
            "message": None,
            "created_at": 5.0,
            "started_at": None,
            "expires_at": None,
            "ended_at": None,
            "task_id": sandbox.info.task_id,
            "node_id": None,
            "tags": {"k": "v"},
        }
    ]


def test_an_empty_list_is_empty_on_stdout(run: Cli, world: World) -> None:
    assert run("sandbox", "list").out == ""
    assert run("sandbox", "list", "--json").json == []


def test_list_goes_on_to_the_last_page(run: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sandboxes, "_PAGE", 2)
    expected = [add(world).info.sandbox_id for _ in range(5)]
    assert [one["sandbox_id"] for one in run("sandbox", "list", "--json").json] == expected


def test_list_filters_by_app_and_by_all_tags(run: Cli, world: World) -> None:
    add(world, app="other", a="1", b="2")
    add(world, a="1")
    wanted = add(world, a="1", b="2")
    found = run("sandbox", "list", "--app", "app", "--tag", "a=1", "--tag", "b=2", "--json").json
    assert [one["sandbox_id"] for one in found] == [wanted.info.sandbox_id]
    assert run("sandbox", "list", "--app", "none").exit_code == 1


def test_list_shows_stopped_ones_only_when_asked(run: Cli, world: World) -> None:
    add(world).end(common_pb2.END_REASON_TIMEOUT, 124)
    assert run("sandbox", "list", "--json").json == []
    (one,) = run("sandbox", "list", "--all", "--json").json
    assert (one["state"], one["returncode"], one["end_reason"]) == ("stopped", 124, "timeout")


@pytest.mark.parametrize("tag", ["a", "=b", ""])
def test_a_tag_that_is_no_pair_is_refused(run: Cli, world: World, tag: str) -> None:
    assert run("sandbox", "list", "--tag", tag).exit_code == 2
    assert not world.calls


def test_a_table_in_a_pipe_is_not_cut_and_cannot_steer_a_terminal(run: Cli, world: World) -> None:
    add(world, text=ESCAPE + "x" * 200)
    table = run("sandbox", "list").out
    assert "\x1b" not in table
    assert "x" * 200 in table


def test_commands_of_hostile_processes_cannot_steer_a_terminal(run: Cli, world: World) -> None:
    sandbox = add(world, "web")
    argv = [b"sh", ESCAPE.encode(), b"\xff\xfe", b"two\nlines"]
    sandbox.processes["ex-1"] = Process(data_pb2.ProcessStatus(exec_id="ex-1", state=data_pb2.PROCESS_STATE_RUNNING, argv=argv, pid=3))
    shown = run("sandbox", "ps", "web").out
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 3
    (one,) = run("sandbox", "ps", "web", "--json").json
    assert one["command"] == ["sh", ESCAPE, "\ufffd\ufffd", "two\nlines"]
    assert (one["pid"], one["state"], one["returncode"]) == (3, "running", None)


def test_ps_shows_ended_processes_only_when_asked(run: Cli, world: World) -> None:
    sandbox = add(world, "web", "true")
    sandbox.processes["main"].end(3)
    assert run("sandbox", "ps", "web", "--json").json == []
    assert [one["returncode"] for one in run("sandbox", "ps", "web", "--all", "--json").json] == [3]


def test_a_sandbox_is_found_by_id_by_name_and_by_app_and_name(run: Cli, world: World) -> None:
    sandbox_id = add(world, "web").info.sandbox_id
    for reference in (sandbox_id, "web", "app/web"):
        assert run("sandbox", "info", reference, "--json").json["sandbox_id"] == sandbox_id


def test_a_name_in_two_apps_must_be_told_apart(run: Cli, world: World) -> None:
    add(world, "web", app="one")
    second = add(world, "web", app="two").info.sandbox_id
    result = run("sandbox", "info", "web")
    assert result.exit_code != 0
    assert "APP/NAME" in result.err
    assert run("sandbox", "info", "two/web", "--json").json["sandbox_id"] == second


@pytest.mark.parametrize("reference", ["nobody", "app/nobody", "sb-0123456789012345678901", "", "/", "a/b/c", ESCAPE, "sb-"])
def test_a_sandbox_that_is_not_there_is_a_short_error(run: Cli, world: World, reference: str) -> None:
    result = run("sandbox", "info", reference)
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.err
    assert "\x1b" not in result.err


def test_terminate_ends_all_it_can_and_tells_of_the_rest(run: Cli, world: World) -> None:
    first, second = add(world, "first"), add(world, "second")
    result = run("sandbox", "terminate", "first", "nobody", "second", "--wait")
    assert result.exit_code == 1
    assert "nobody" in result.err
    assert {first.info.status.state, second.info.status.state} == {common_pb2.SANDBOX_STATE_STOPPED}
    assert run("sandbox", "terminate", first.info.sandbox_id).exit_code == 0


def test_paused_ones_are_shown_as_such_until_they_are_resumed(run: Cli, world: World) -> None:
    first, second = add(world, "first"), add(world, "second")
    result = run("sandbox", "pause", "first", "nobody", "second")
    assert (result.exit_code, "nobody" in result.err) == (1, True)
    assert {one["state"] for one in run("sandbox", "list", "--json").json} == {"paused"}
    assert run("sandbox", "resume", first.info.sandbox_id).exit_code == 0
    assert run("sandbox", "info", "first", "--json").json["state"] == "running"
    assert run("sandbox", "info", "second", "--json").json["state"] == "paused"
    assert second.info.status.paused_at


def test_one_failure_of_the_server_does_not_keep_others_alive(run: Cli, world: World) -> None:
    one, other = add(world), add(world)
    world.fail_next["SandboxTerminate"] = [NotFoundError("gone")]
    result = run("sandbox", "terminate", one.info.sandbox_id, other.info.sandbox_id)
    assert result.exit_code == 1
    states = [sandbox.info.status.state for sandbox in (one, other)]
    assert states.count(common_pb2.SANDBOX_STATE_STOPPED) == 1


def test_logs_keep_streams_apart_and_tell_of_gaps(run: Cli, world: World) -> None:
    sandbox = add(world, "web", "sh")
    sandbox.processes["system"] = Process(data_pb2.ProcessStatus(exec_id="system"))
    sandbox.processes["system"].write(b"exec started\n")
    main = sandbox.processes["main"]
    main.write(b"first\nlost.\nlast\n")
    main.outputs[1].drop(6, 12)
    main.write(b"error\n", fd=2)
    result = run("sandbox", "logs", "web")
    assert result.out == "first\nlast\n"
    assert result.err == "exec started\n[cove: 6 bytes of output were dropped here]\nerror\n"


@pytest.mark.parametrize("end_early", [False, True])
def test_following_logs_survives_cuts(run: Cli, world: World, profiles: Path, end_early: bool) -> None:
    profiles.write_text(profiles.read_text().replace("reconnect_s = 0.0", "reconnect_s = 5.0"))
    sandbox = add(world, "web", "sh")
    for process in (sandbox.processes["main"], Process(data_pb2.ProcessStatus(exec_id="system"))):
        process.write(b"0123456789" * 10)
        process.end()
        sandbox.processes[process.status.exec_id] = process
    world.chunk_bytes, world.cut_after, world.end_early = 30, 2, end_early
    result = run("sandbox", "logs", "-f", "web")
    assert (result.exit_code, result.out, result.err) == (0, "0123456789" * 10, "0123456789" * 10)


def test_exec_gives_output_and_exit_code(run: Cli, world: World) -> None:
    add(world, "web")
    result = run("sandbox", "exec", "web", "--", "echo", "hello")
    assert (result.exit_code, result.out) == (0, "hello\n")
    assert run("sandbox", "exec", "web", "false").exit_code == 1
    assert run("sandbox", "exec", "web", "missing").exit_code == 2


def test_exec_passes_options_of_the_command_on(run: Cli, world: World) -> None:
    add(world, "web")
    for arguments in (["echo", "-n", "--json", "--", "--pty"], ["--", "echo", "-n", "--json", "--", "--pty"]):
        assert run("sandbox", "exec", "web", *arguments).out == "-n --json -- --pty\n"


def test_terminal_prints_a_link_and_nothing_else(run: Cli, world: World) -> None:
    sandbox = add(world, "web")
    url = "http://cove.example/terminal/te-1#tt-1"
    assert run("sandbox", "terminal", "web").out == f"{url}\n"
    assert run("sandbox", "terminal", "--json", "--user", "nobody", "--workdir", "/x", "web", "--", "top", "-d", "1").json == {
        "url": url,
        "expires_at": 2.0,
    }
    asked = [(list(one.argv), one.user, one.workdir, one.sandbox_id) for one in world.terminals]
    assert asked == [([], "", "", sandbox.info.sandbox_id), ([b"top", b"-d", b"1"], "nobody", "/x", sandbox.info.sandbox_id)]


@pytest.mark.parametrize("arguments", [["--"], ["--workdir", "/"], ["--json"]])
def test_terminal_takes_no_option_for_a_command(run: Cli, world: World, arguments: list[str]) -> None:
    add(world, "web")
    assert run("sandbox", "terminal", "web", *arguments).exit_code == 2
    assert world.terminals == []


@pytest.mark.parametrize("arguments", [[], ["--"], ["--pty"], ["--workdir", "/", "true"]])
def test_exec_without_a_command_starts_nothing(run: Cli, world: World, arguments: list[str]) -> None:
    add(world, "web")
    assert run("sandbox", "exec", "web", *arguments).exit_code == 2
    assert world.calls["ProcessStart"] == 0


def test_exec_keeps_values_of_variables_out_of_errors(run: Cli, world: World) -> None:
    add(world, "web")
    result = run("sandbox", "exec", "--env", "=hunter2", "web", "true")
    assert result.exit_code == 2
    assert "hunter2" not in result.out + result.err


def test_exec_pipes_standard_input(run: Cli, world: World, tmp_path: Path) -> None:
    add(world, "web")
    content = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(content)
    kept = os.dup(0)
    try:
        with (tmp_path / "in").open("rb") as file:
            os.dup2(file.fileno(), 0)
            assert run("sandbox", "exec", "web", "cat").exit_code == 0
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert bytes(world.last_process.stdin) == content


def test_ctrl_c_goes_to_the_command(run: Cli, world: World) -> None:
    add(world, "web")
    world.fail_next["ProcessInput"] = [Meanwhile(lambda: os.kill(os.getpid(), signal.SIGINT))]
    result = run("sandbox", "exec", "web", "sleep")
    assert result.exit_code == 128 + signal.SIGINT
    assert world.last_process.signals == [(signal.SIGINT, True)]
    assert "Traceback" not in result.err


def test_a_signal_to_end_hangs_the_command_up(run: Cli, world: World) -> None:
    add(world, "web")
    world.fail_next["ProcessInput"] = [Meanwhile(lambda: os.kill(os.getpid(), signal.SIGTERM))]
    assert run("sandbox", "exec", "web", "sleep").exit_code == 128 + signal.SIGTERM
    assert world.last_process.signals == [(signal.SIGHUP, True)]


def test_a_sandbox_that_ends_under_a_command_is_told(run: Cli, world: World) -> None:
    sandbox = add(world, "web")
    memory = common_pb2.END_REASON_OUT_OF_MEMORY
    world.fail_next["ProcessInput"] = [Meanwhile(lambda: sandbox.end(memory, 137, "The memory limit was reached."))]
    result = run("sandbox", "exec", "web", "sleep")
    assert result.exit_code == 137
    assert "The memory limit was reached." in result.err


@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("x:/a", "y:/b"), ("x:", "b"), (":/a", "b"), ("./x:/a", "/y:/b")])
def test_a_copy_has_one_side_in_a_sandbox(run: Cli, world: World, source: str, target: str) -> None:
    assert run("sandbox", "cp", source, target).exit_code == 2
    assert not world.calls


def test_network_shows_what_was_refused_and_what_would_allow_it(run: Cli, world: World) -> None:
    sandbox = add(world, "web")
    denied, allowed = network_pb2.NETWORK_VERDICT_DENIED, network_pb2.NETWORK_VERDICT_ALLOWED
    line = f'domain_allowlist=["{ESCAPE}evil.example"]'
    sandbox.network = [
        network_pb2.NetworkRecord(
            cursor=1, count=3, verdict=denied, protocol="dns", name=f"{ESCAPE}evil.example", rule="not_listed", remedy=line, last_at=1
        ),
        network_pb2.NetworkRecord(
            cursor=2, count=1, verdict=allowed, protocol="tcp", address="192.0.2.1", port=443, rule="cidr", last_at=1
        ),
    ]
    for arguments in ((), ("--follow",)):
        shown = run("sandbox", "network", "web", *arguments).out
        assert "\x1b" not in shown
        assert "denied" in shown and "evil.example" in shown and "not_listed" in shown and "tcp 192.0.2.1:443" in shown
    records = run("sandbox", "network", "web", "--json").json
    assert [(record["event"], record["count"]) for record in records] == [("egress_denied", 3), ("egress_allowed", 1)]
    assert run("sandbox", "network", "web", "--allowlist").json == {"cidr_allowlist": ["192.0.2.1/32"], "domain_allowlist": []}
    assert run("sandbox", "network", "web", "--allowlist", "-f").exit_code == 2


def test_a_sandbox_that_reached_for_nothing_says_so(run: Cli, world: World) -> None:
    add(world, "web")
    result = run("sandbox", "network", "web")
    assert (result.out, "not tried" in result.err) == ("", True)

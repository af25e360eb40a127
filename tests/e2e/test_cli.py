"""The ``cove`` program against a real cove: what a person at a terminal and a script see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cove
from tests.support.cli_terminal import CliTerminal
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes

PROGRAM = [sys.executable, "-c", "from cove.cli import main; main()"]
PROMPT = "# "

pytestmark = pytest.mark.usefixtures("live")


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The program with pipes, to its end."""
    return subprocess.run([*PROGRAM, *arguments], input=stdin, capture_output=True, timeout=90, check=False)


def assert_shells_ended() -> None:
    """Sandboxes that shells made are ended; return when they are gone, too."""
    listed = run("sandbox", "list", "--app", "cove-shell", "--all", "--json")
    for one in json.loads(listed.stdout):
        assert one["state"] in ("stopping", "stopped")
        cove.Sandbox.from_id(one["sandbox_id"]).wait(raise_on_termination=False)


# --- at a terminal --------------------------------------------------------------------------------


def test_a_shell_in_a_new_sandbox_ends_with_it(live: LiveCove) -> None:
    with CliTerminal("shell", "--block-network", rows=31, columns=97) as terminal:
        terminal.expect(PROMPT)
        assert not terminal.is_as_before
        terminal.type("stty size\r")
        terminal.expect("\r\n31 97\r\n")
        terminal.expect(PROMPT)
        terminal.type("exit 42\r")
        assert terminal.wait() == 42
        assert terminal.is_as_before
    assert_shells_ended()


def test_the_window_may_change_its_size(shared: cove.Sandbox) -> None:
    with CliTerminal("shell", shared.object_id, rows=24, columns=80) as terminal:
        terminal.expect(PROMPT)
        # A program in the foreground: bash itself runs traps only with the next key.
        terminal.type("sh -c 'trap \"stty size; exit\" WINCH; echo set; while :; do sleep 0.1; done'\r")
        terminal.expect("\r\nset\r\n")
        terminal.resize(40, 132)
        terminal.expect("40 132\r\n")
        terminal.expect(PROMPT)
        terminal.type("exit\r")
        assert terminal.wait() == 0


def test_ctrl_c_and_ctrl_d_belong_to_the_shell(shared: cove.Sandbox) -> None:
    with CliTerminal("shell", shared.object_id) as terminal:
        terminal.expect(PROMPT)
        terminal.type("sh -c 'echo begun; exec sleep 1000'\r")  # says so from the terminal's foreground
        terminal.expect("\r\nbegun\r\n")
        terminal.type("\x03")
        terminal.expect(PROMPT)
        terminal.type("echo status=$?\r")
        terminal.expect("status=130\r\n")
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.wait() == 0
        assert terminal.is_as_before


def test_a_running_sandbox_outlives_its_shell_and_options_of_a_new_one_are_ignored(shared: cove.Sandbox) -> None:
    with CliTerminal("shell", "--cpu", "1", "--block-network", shared.object_id) as terminal:
        terminal.expect("--cpu, --block-network only make sense for a new sandbox")
        terminal.expect(PROMPT)
        terminal.type("exit\r")
        assert terminal.wait() == 0
    assert shared.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_restores_the_terminal_and_ends_the_sandbox(live: LiveCove, number: signal.Signals) -> None:
    with CliTerminal("shell", "--block-network") as terminal:
        terminal.expect(PROMPT)
        terminal.process.send_signal(number)
        assert terminal.wait() == 128 + number
        assert terminal.is_as_before
    assert_shells_ended()


def test_exec_takes_a_terminal_where_there_is_one(shared: cove.Sandbox) -> None:
    with CliTerminal("sandbox", "exec", shared.object_id, "--", "sh", "-c", "tty; echo $TERM; exit 9") as terminal:
        terminal.expect("/dev/pts/")
        assert terminal.wait() == 9
        assert terminal.is_as_before
    with CliTerminal("sandbox", "exec", "--no-pty", shared.object_id, "tty") as terminal:
        terminal.expect("not a tty")
        assert terminal.wait() == 1


# --- in a script ----------------------------------------------------------------------------------


def test_a_shell_works_in_a_pipe(live: LiveCove) -> None:
    done = run("shell", "--block-network", stdin=b"echo out; echo err >&2; tty; exit 3\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\nnot a tty\n", b"err\n")
    assert_shells_ended()


def test_a_shell_of_another_command(shared: cove.Sandbox) -> None:
    done = run("shell", shared.object_id, "--cmd", "sh -c 'echo \"two words\"'")
    assert (done.returncode, done.stdout) == (0, b"two words\n")


def test_exec_pipes_bytes_through(shared: cove.Sandbox) -> None:
    content = os.urandom(2_000_000)
    done = run("sandbox", "exec", shared.object_id, "--", "sh", "-c", "cat; echo done >&2; exit 7", stdin=content)
    assert (done.returncode, done.stderr) == (7, b"done\n")
    assert done.stdout == content


def test_exec_sets_environment_directory_and_user(shared: cove.Sandbox) -> None:
    options = ["--env", "A=x=y", "--env", "B=", "--workdir", "/tmp", "--user", "nobody"]
    done = run("sandbox", "exec", *options, shared.object_id, "sh", "-c", 'pwd; id -un; echo "[$A][$B]"')
    assert done.stdout == b"/tmp\nnobody\n[x=y][]\n"


def test_exec_that_times_out_keeps_its_output(shared: cove.Sandbox) -> None:
    done = run("sandbox", "exec", "--timeout", "1", shared.object_id, "sh", "-c", "echo part; sleep 1000")
    assert (done.returncode, done.stdout) == (124, b"part\n")
    assert b"timeout of 1 s" in done.stderr


def test_exec_of_nothing_there(shared: cove.Sandbox) -> None:
    done = run("sandbox", "exec", shared.object_id, "nosuchprogram")
    assert done.returncode == 2
    assert b"nosuchprogram" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_command_whose_output_nobody_reads_is_hung_up(shared: cove.Sandbox) -> None:
    script = '"$@" sandbox exec "$SANDBOX" -- sh -c \'echo pid-$$; exec yes\' | head -n 1'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *PROGRAM], env={**os.environ, "SANDBOX": shared.object_id}, capture_output=True, timeout=90, check=True
    )
    assert done.stdout.startswith(b"pid-")
    listed = json.loads(run("sandbox", "ps", shared.object_id, "--json").stdout)
    assert [one for one in listed if one["command"][-1].endswith("exec yes")] == []


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_goes_to_the_command_and_the_second_leaves(shared: cove.Sandbox, presses: int) -> None:
    """One that ignores the first is killed by the second."""
    command = "sleep 1000" if presses == 1 else "trap 'echo again' INT; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [*PROGRAM, "sandbox", "exec", shared.object_id, "--", "sh", "-c", f"echo ready; {command}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        if presses == 2:
            assert process.stdout.readline() == b"again\n"
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""
    listed = json.loads(run("sandbox", "ps", shared.object_id, "--json").stdout)
    assert [one for one in listed if one["command"][-1].endswith(command)] == []


def test_a_sandbox_in_lists_logs_and_its_end(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("sh", "-c", "echo out; echo err >&2; sleep 1000", name="listed", tags={"purpose": "cli"}, verbose=True)
    (listed,) = json.loads(run("sandbox", "list", "--app", "tests", "--tag", "purpose=cli", "--json").stdout)
    assert (listed["sandbox_id"], listed["name"], listed["returncode"]) == (sandbox.object_id, "listed", None)
    assert run("sandbox", "exec", "tests/listed", "true").returncode == 0
    assert sandbox.object_id.encode() in run("sandbox", "list").stdout

    main = json.loads(run("sandbox", "ps", "listed", "--json").stdout)
    assert [one["exec_id"] for one in main] == ["main"]

    assert run("sandbox", "terminate", "listed", "--wait").returncode == 0
    ended = json.loads(run("sandbox", "info", sandbox.object_id, "--json").stdout)
    assert (ended["state"], ended["returncode"], ended["end_reason"]) == ("stopped", 137, "terminated")
    logs = run("sandbox", "logs", "--follow", sandbox.object_id)
    assert (logs.returncode, logs.stdout) == (0, b"out\n")
    assert b"err\n" in logs.stderr
    assert b"true" in logs.stderr  # the sandbox's own log: what was executed


def test_files_and_directories_are_copied_both_ways(shared: cove.Sandbox, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").write_bytes(b"\0\xff" * 1000)
    (tmp_path / "tree" / "run").write_text("#!/bin/sh\n")
    (tmp_path / "tree" / "run").chmod(0o755)
    there, back = f"{shared.object_id}:/tmp/copied", tmp_path / "back"

    assert run("sandbox", "cp", str(tmp_path / "tree"), there).returncode == 0
    assert run("sandbox", "cp", there, str(back)).returncode == 0
    assert (back / "sub" / "file").read_bytes() == b"\0\xff" * 1000
    assert os.access(back / "run", os.X_OK)

    assert run("sandbox", "cp", str(tmp_path / "tree" / "run"), there).returncode == 0  # into the directory
    back.joinpath("run").unlink()
    assert run("sandbox", "cp", f"{there}/run", str(back)).returncode == 0
    assert (back / "run").read_text() == "#!/bin/sh\n"


def test_a_copy_of_what_is_not_there_is_a_short_error(shared: cove.Sandbox, tmp_path: Path) -> None:
    for source, target in ((f"{shared.object_id}:/nope", str(tmp_path)), (str(tmp_path / "nope"), f"{shared.object_id}:/tmp/")):
        done = run("sandbox", "cp", source, target)
        assert done.returncode == 1
        assert b"No such file or directory" in done.stderr


def test_a_new_token_works_until_it_is_revoked(live: LiveCove, tmp_path: Path) -> None:
    made = json.loads(run("token", "new", "--name", "cli-test", "--json").stdout)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("COVE_TOKEN")}
    environ["COVE_CONFIG_PATH"] = str(tmp_path / "cove.toml")

    def other(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*PROGRAM, *arguments], env=environ, input=stdin, capture_output=True, timeout=60, check=False)

    stored = other("token", "set", "--token-id", made["token_id"], "--token-secret", "-", stdin=made["token_secret"].encode())
    assert stored.returncode == 0, stored.stderr
    assert other("sandbox", "list").returncode == 0
    assert run("token", "revoke", made["token_id"]).returncode == 0
    refused = other("sandbox", "list")
    assert refused.returncode == 1
    assert made["token_secret"].encode() not in refused.stderr
    (listed,) = [one for one in json.loads(run("token", "list", "--json").stdout) if one["token_id"] == made["token_id"]]
    assert listed["revoked"] is True

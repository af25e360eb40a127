"""Processes in a sandbox: how they start, what their streams give, how they end."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
import signal

import pytest

import cove
from cove.exception import ConflictError, ExecTimeoutError, InvalidError, NotFoundError
from cove.stream_type import StreamType
from tests.support.waiting import eventually


def sh(sandbox: cove.Sandbox, script: str, **options: object) -> cove.container_process.ContainerProcess[str]:
    process: cove.container_process.ContainerProcess[str] = sandbox.exec("sh", "-c", script, **options)  # type: ignore[call-overload]  # passed on
    return process


def said(sandbox: cove.Sandbox, script: str, **options: object) -> str:
    """What a shell script that succeeds prints."""
    process = sh(sandbox, script, **options)
    output = process.stdout.read()
    assert process.wait() == 0, process.stderr.read()
    return output


# --- starting ----------------------------------------------------------------------------------------------------------------------------


def test_arguments_pass_no_shell(shared: cove.Sandbox) -> None:
    arguments = ["$HOME", "a b", "*", "`id`", "; false", "", "ü", "\udcff", "'\""]
    code = "import os, sys; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))"
    process = shared.exec("python3", "-c", code, *arguments, text=False)
    assert process.stdout.read() == b"|".join(argument.encode("utf-8", "surrogateescape") for argument in arguments)


@pytest.mark.parametrize(
    ("command", "options", "word"),
    [
        (["no-such-program"], {}, "no-such-program"),
        (["/no/such/program"], {}, "/no/such/program"),
        (["/etc/passwd"], {}, "ermission"),
        (["/etc"], {}, "exec"),
        (["true"], {"workdir": "/no/such/directory"}, "chdir"),
        (["true"], {"user": "nobody-we-know"}, "user"),
        (["echo hello"], {}, "echo hello"),
        (["true"], {"env": {"PATH": "/nowhere"}}, "exec"),
    ],
)
def test_what_cannot_start_fails_exec(shared: cove.Sandbox, command: list[str], options: dict[str, object], word: str) -> None:
    before = {process.exec_id for process in shared.processes()}
    with pytest.raises(InvalidError, match=word) as caught:
        shared.exec(*command, **options)  # type: ignore[call-overload]  # options of many types
    assert caught.value.code == "exec_failed"
    assert {process.exec_id for process in shared.processes()} == before


def test_environment_workdir_and_user(shared: cove.Sandbox) -> None:
    secret = cove.Secret.from_dict({"A": "secret", "B": "secret"})
    assert said(shared, "echo $A $B $C", env={"B": "env", "C": None}, secrets=[secret]) == "secret env\n"
    assert said(shared, "echo $A$COVE_SANDBOX_ID", env={"COVE_SANDBOX_ID": "forged"}) == f"{shared.object_id}\n"
    assert said(shared, "pwd", workdir="/usr/lib") == "/usr/lib\n"
    assert said(shared, "id -u; id -g; echo $HOME", user="nobody:users") == "65534\n100\n/nonexistent\n"
    assert said(shared, "id -u; id -g", user="1234:5678") == "1234\n5678\n"
    assert said(shared, "id -u; echo $HOME") == "0\n/root\n"
    assert said(shared, "touch /root/x 2>&1 || echo denied", user="nobody").endswith("denied\n")


# --- output ------------------------------------------------------------------------------------------------------------------------------


def test_streams_are_apart_and_read_whole_after_exit(shared: cove.Sandbox) -> None:
    process = sh(shared, "printf 'out\\nput'; printf 'err\\n' >&2; exit 7")
    assert process.wait() == 7
    assert (process.stdout.read(), process.stderr.read()) == ("out\nput", "err\n")
    assert (process.returncode, process.poll()) == (7, 7)
    assert (process.stdout.file_descriptor, process.stderr.file_descriptor) == (1, 2)


def test_iteration_is_live_and_keeps_newlines(shared: cove.Sandbox) -> None:
    process = sh(shared, "echo one; read x; echo; printf two")
    lines = iter(process.stdout)
    assert next(lines) == "one\n"
    assert process.poll() is None
    process.stdin.write("go\n")
    process.stdin.drain()
    assert list(lines) == ["\n", "two"]
    assert list(process.stdout.replay()) == ["one\n", "\n", "two"]


def test_reattached_process_gives_everything_again(shared: cove.Sandbox) -> None:
    process = sh(shared, "echo one; read x; echo got $x; exit 3")
    assert next(iter(process.stdout)) == "one\n"
    again = cove.Sandbox.from_id(shared.object_id).process(process.exec_id)
    assert again.exec_id in {each.exec_id for each in shared.processes()}
    again.stdin.write(b"it\n")
    again.stdin.drain()
    assert again.stdout.read() == "one\ngot it\n"
    assert (again.wait(), process.wait()) == (3, 3)
    assert again.exec_id not in {each.exec_id for each in shared.processes()}
    late = shared.process(process.exec_id, text=False)
    assert [late.stdout.read(offset=offset) for offset in (0, 4, 11, 1000)] == [b"one\ngot it\n", b"got it\n", b"", b""]
    with pytest.raises(NotFoundError):
        shared.process("never-was")


def test_text_is_decoded_across_pieces_and_invalid_bytes_are_replaced(shared: cove.Sandbox) -> None:
    code = "import os, time\nfor b in 'aé€😀\\n'.encode() + b'\\xff\\xc3(\\n\\xe2\\x82': os.write(1, bytes([b])); time.sleep(0.005)"
    process = shared.exec("python3", "-c", code)
    assert list(process.stdout) == ["aé€😀\n", "\ufffd\ufffd(\n", "\ufffd"]
    assert shared.process(process.exec_id, text=False).stdout.read() == "aé€😀\n".encode() + b"\xff\xc3(\n\xe2\x82"


def test_binary_output_is_exact(shared: cove.Sandbox) -> None:
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 20000)"
    process = shared.exec("python3", "-c", code, text=False)
    assert b"".join(process.stdout) == bytes(range(256)) * 20000


def test_stream_types(shared: cove.Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    process = sh(shared, "echo printed; echo dropped >&2", stdout=StreamType.STDOUT, stderr=StreamType.DEVNULL)
    assert process.wait() == 0
    assert capfd.readouterr().out == "printed\n"
    with pytest.raises(InvalidError):
        process.stderr.read()
    assert process.stderr.replay().read() == "dropped\n"


def test_unread_output_blocks_nobody(shared: cove.Sandbox) -> None:
    process = sh(shared, "head -c 20000000 /dev/zero; echo done >&2", timeout=30)
    assert process.wait() == 0
    assert process.stderr.read() == "done\n"


async def test_many_at_once_in_async_code(shared: cove.Sandbox) -> None:
    async def one(number: int) -> str:
        process = await shared.exec.aio("sh", "-c", f"read x; echo {number} $x")
        process.stdin.write("in\n")
        await process.stdin.drain.aio()
        lines = [line async for line in process.stdout]
        assert await process.wait.aio() == 0
        return "".join(lines)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(20)]
    assert [task.result() for task in tasks] == [f"{number} in\n" for number in range(20)]


# --- input -------------------------------------------------------------------------------------------------------------------------------


def test_input_waits_for_drain_and_end_is_explicit(shared: cove.Sandbox) -> None:
    process = shared.exec("cat")
    process.stdin.write("first ")
    process.stdin.write(b"second")
    process.stdin.drain()
    process.stdin.write(memoryview(b" third"))
    process.stdin.write_eof()
    with pytest.raises(ValueError, match="closed"):
        process.stdin.write("more")
    assert process.poll() is None
    process.stdin.drain()
    assert process.stdout.read() == "first second third"
    assert process.wait() == 0


def test_input_after_exit_fails_clearly(shared: cove.Sandbox) -> None:
    process = shared.exec("true")
    assert process.wait() == 0
    process.stdin.write("too late")
    with pytest.raises(ConflictError) as caught:
        process.stdin.drain()
    assert caught.value.code == "stdin_closed"
    other = shared.exec("true")
    other.wait()
    other.stdin.write_eof()
    other.stdin.drain()


def test_large_input_comes_through(shared: cove.Sandbox) -> None:
    blob = bytes(range(256)) * 20_000
    process = shared.exec("sha256sum", "-b")
    process.stdin.write(blob)
    process.stdin.write_eof()
    process.stdin.drain()
    assert process.stdout.read().split()[0] == hashlib.sha256(blob).hexdigest()


# --- ends --------------------------------------------------------------------------------------------------------------------------------


def test_timeout_kills_everything_and_keeps_the_output(shared: cove.Sandbox) -> None:
    double_fork = (
        "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  open('/tmp/alive', 'w')\n  time.sleep(77)\n os._exit(0)"
    )
    script = f"echo begun; setsid sleep 77 & python3 -c {shlex.quote(double_fork)}; nohup sleep 77 & trap '' TERM; sleep 77"
    process = sh(shared, script, timeout=1.5)
    with pytest.raises(ExecTimeoutError) as caught:
        process.wait()
    assert caught.value.context["exec_id"] == process.exec_id
    assert isinstance(caught.value, TimeoutError)
    assert (process.returncode, process.poll(), process.stdout.read()) == (124, 124, "begun\n")
    assert said(shared, "ls /tmp/alive; rm /tmp/alive") == "/tmp/alive\n"
    assert said(shared, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").count("sleep 77") == 0
    exited = sh(shared, "exit 124", timeout=60)
    assert exited.wait() == 124


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_signal_ends_with_128_and_its_number(shared: cove.Sandbox, number: signal.Signals) -> None:
    process = shared.exec("sleep", "100")
    process.signal(number)
    assert process.wait() == 128 + number
    with pytest.raises(ConflictError):
        process.signal(number)


def test_signal_can_be_handled_and_reach_a_tree(shared: cove.Sandbox) -> None:
    process = sh(shared, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done")
    lines = iter(process.stdout)
    assert next(lines) == "ready\n"
    process.signal(signal.SIGINT)
    assert (list(lines), process.wait()) == (["caught\n"], 5)
    tree = sh(shared, "setsid sleep 66 & echo ready; wait; sleep 66")
    assert next(iter(tree.stdout)) == "ready\n"
    tree.signal(signal.SIGKILL, tree=True)
    assert tree.wait() == 137
    assert said(shared, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").count("sleep 66") == 0


def test_background_child_does_not_hold_the_process(shared: cove.Sandbox) -> None:
    process = sh(shared, "echo parent; sleep 55 &")
    assert process.stdout.read() == "parent\n"
    assert process.wait() == 0


# --- terminals ---------------------------------------------------------------------------------------------------------------------------


def test_terminal_echoes_resizes_and_scrolls_back(shared: cove.Sandbox) -> None:
    process = shared.exec("bash", "--norc", pty=True)
    lines = iter(process.stdout)

    def enter(text: str) -> None:
        process.stdin.write(text)
        process.stdin.drain()

    def until(wanted: str) -> str:
        seen = ""
        for line in lines:
            seen += line
            if wanted in line:
                return seen
        raise AssertionError(seen)

    enter("tty && echo $TERM; stty size; printf 'size-%s\\n' known\n")
    assert "/dev/pts/" in until("size-known\r\n")
    process.resize(40, 132)
    enter("stty size; printf 'size-%s\\n' changed\n")
    assert "40 132\r\n" in until("size-changed\r\n")
    again = shared.process(process.exec_id)
    assert "size-known\r\n" in until_in(again, "size-changed\r\n")
    enter("sleep 100\n")
    eventually(lambda: "sleep\x00100" in said(shared, "cat /proc/[0-9]*/cmdline"))
    enter("\x03")
    enter("exit 4\n")
    assert process.wait() == 4
    with pytest.raises(ConflictError):
        process.resize(24, 80)


def until_in(process: cove.container_process.ContainerProcess[str], wanted: str) -> str:
    seen = ""
    for line in process.stdout:
        seen += line
        if wanted in line:
            break
    return seen


def test_only_terminals_resize(shared: cove.Sandbox) -> None:
    process = shared.exec("sleep", "100")
    with pytest.raises(InvalidError, match="terminal"):
        process.resize(24, 80)
    process.signal(signal.SIGKILL)

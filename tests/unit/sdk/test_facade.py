"""The blocking face: the same from every thread, loop and process there is."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

import cove
from cove._bridge import BRIDGE
from cove.container_process import ContainerProcess
from cove.exception import AsyncUsageWarning, ClientClosed, ExecutionError, InvalidError, NotFoundError
from cove.file_io import FileIO
from cove.io_streams import StreamReader, StreamWriter
from tests.support.fake_server import TOKEN_ID, TOKEN_SECRET, FakeServer


def test_a_whole_script(blocking_server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    app = cove.App.lookup("app", create_if_missing=True)
    secret = cove.Secret.from_dict({"A": "b"})
    sandbox = cove.Sandbox.create(app=app, image=cove.Image.debian_slim("3.11"), secrets=[secret])
    process = sandbox.exec("cat")
    process.stdin.write("one\ntwo\n")
    process.stdin.write_eof()
    process.stdin.drain()
    for line in process.stdout:
        print(line, end="")
    assert process.wait() == 0
    assert process.returncode == 0
    assert capsys.readouterr().out == "one\ntwo\n"
    with sandbox.open("/file", "w") as writer:
        writer.write("text\n")
    with sandbox.open("/file") as reader:
        assert list(reader) == ["text\n"]
    assert sandbox.ls("/") == ["file"]
    assert [found.object_id for found in cove.Sandbox.list(app_id=app.app_id)] == [sandbox.object_id]
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    assert sandbox.poll() == sandbox.returncode == 137
    assert dict(blocking_server.world.only.spec.env) == {"A": "b"}


async def test_a_whole_script_with_aio(blocking_server: FakeServer) -> None:
    app = await cove.App.lookup.aio("app", create_if_missing=True)
    sandbox = await cove.Sandbox.create.aio(app=app)
    process = await sandbox.exec.aio("cat")
    process.stdin.write(b"one\ntwo\n")
    process.stdin.write_eof()
    await process.stdin.drain.aio()
    assert [line async for line in process.stdout] == ["one\n", "two\n"]
    assert await process.wait.aio() == 0
    async with await sandbox.open.aio("/file", "wb") as writer:
        await writer.write.aio(b"x")
    assert [found.object_id async for found in cove.Sandbox.list.aio()] == [sandbox.object_id]
    assert [found.object_id async for found in cove.Sandbox.list()] == [sandbox.object_id]
    async for _ in sandbox.watch.aio("/", timeout=1):
        pass
    await sandbox.terminate.aio()


async def test_blocking_calls_work_inside_a_running_loop(blocking_sandbox: cove.Sandbox) -> None:
    assert list(blocking_sandbox.exec("echo", "nested").stdout) == ["nested\n"]


async def test_blocking_calls_in_a_loop_warn_when_asked_to(blocking_sandbox: cove.Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BRIDGE, "_warns", None)
    monkeypatch.setenv("COVE_ASYNC_WARNINGS", "1")
    with pytest.warns(AsyncUsageWarning) as caught:
        blocking_sandbox.poll()
    assert caught[0].filename == __file__
    await blocking_sandbox.poll.aio()
    monkeypatch.setattr(BRIDGE, "_warns", None)


def test_aio_works_from_any_loop(blocking_sandbox: cove.Sandbox) -> None:
    async def use() -> str:
        return await (await blocking_sandbox.exec.aio("echo", "hello")).stdout.read.aio()

    assert [asyncio.run(use()) for _ in range(3)] == ["hello\n"] * 3


def test_many_threads_at_once(blocking_sandbox: cove.Sandbox) -> None:
    outputs: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: outputs.append(blocking_sandbox.exec("echo", str(number)).stdout.read()))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outputs, key=int) == [f"{number}\n" for number in range(20)]


async def test_cancelling_aio_cancels_the_call(blocking_server: FakeServer, blocking_sandbox: cove.Sandbox) -> None:
    process = await blocking_sandbox.exec.aio("script")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait.aio(), 0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(process.stdout), 0.1)
    script = blocking_server.world.last_process
    await BRIDGE.run_async(_on_bridge(lambda: script.write(b"late\n")))
    await BRIDGE.run_async(_on_bridge(script.end))
    assert await process.stdout.read.aio() == "late\n"


async def _on_bridge(act: object) -> None:
    assert callable(act)
    act()


def test_errors_come_as_themselves(blocking_sandbox: cove.Sandbox) -> None:
    with pytest.raises(InvalidError) as caught:
        blocking_sandbox.exec("missing")
    assert caught.value.code == "exec_failed"
    with pytest.raises(FileNotFoundError):
        blocking_sandbox.open("/absent")
    with pytest.raises(NotFoundError):
        next(cove.Sandbox.list(tags={"x": "y"}), None) or cove.Sandbox.from_id("sb-none")


def test_an_iteration_can_be_taken_up_again_and_ended(blocking_server: FakeServer, blocking_sandbox: cove.Sandbox) -> None:
    process = blocking_sandbox.exec("echo", "one\ntwo\nthree")
    for line in process.stdout:
        assert line == "one\n"
        break
    assert next(process.stdout) == "two\n"
    assert process.stdout.read() == "three\n"
    assert list(process.stdout) == []
    assert list(process.stdout.replay(4)) == ["two\n", "three\n"]
    watch = blocking_sandbox.watch("/")
    assert blocking_server.world.calls["FileWatch"] == 1  # it is on before anything is asked of it
    watch.close()
    assert list(watch) == []


def test_watching_nothing_fails_at_once(blocking_sandbox: cove.Sandbox) -> None:
    with pytest.raises(FileNotFoundError):
        blocking_sandbox.watch("/absent")


def test_wrong_things_are_refused_by_name(blocking_sandbox: cove.Sandbox) -> None:
    with pytest.raises(InvalidError, match=r"cove\.App"):
        cove.Sandbox.create(app="my-app")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(InvalidError, match=r"cove\.Secret"):
        blocking_sandbox.exec("true", secrets=[cove.Image.debian_slim()])  # type: ignore[list-item]  # as above
    with pytest.raises(TypeError, match="not constructed"):
        cove.Sandbox()


def test_an_object_has_one_face(blocking_sandbox: cove.Sandbox) -> None:
    stdout = blocking_sandbox.stdout
    assert blocking_sandbox.stdout is stdout
    assert blocking_sandbox.hydrate() is blocking_sandbox
    assert blocking_sandbox.object_id in repr(blocking_sandbox)


def test_a_client_of_ones_own(blocking_server: FakeServer) -> None:
    client = cove.Client.from_credentials(TOKEN_ID, TOKEN_SECRET)
    client.hello()
    app = cove.App.lookup("app", create_if_missing=True, client=client)
    sandbox = cove.Sandbox.create(app=app, client=client)
    assert not client.is_closed()
    client.close()
    assert client.is_closed()
    with pytest.raises(ClientClosed):
        sandbox.poll()
    assert cove.Sandbox.from_id(sandbox.object_id).poll() is None


def test_faces_are_documented_and_have_signatures() -> None:
    for kind in (cove.App, cove.Client, cove.Image, cove.Sandbox, cove.Secret, ContainerProcess, StreamReader, StreamWriter, FileIO):
        assert kind.__doc__
        for name in vars(kind):
            member = inspect.getattr_static(kind, name)
            if not name.startswith("_") and not isinstance(member, staticmethod):
                assert inspect.getdoc(member), f"{kind.__name__}.{name}"
    assert list(inspect.signature(cove.Sandbox.mkdir).parameters) == ["self", "path", "parents"]
    assert "app" in inspect.signature(cove.Sandbox.create).parameters


def test_bound_methods_look_like_methods(blocking_sandbox: cove.Sandbox) -> None:
    assert list(inspect.signature(blocking_sandbox.mkdir).parameters) == ["path", "parents"]
    assert blocking_sandbox.mkdir.__name__ == "mkdir"
    assert (blocking_sandbox.mkdir.__doc__ or "").startswith("Make a directory")
    assert cove.Sandbox.mkdir(blocking_sandbox, "/made") is None
    assert blocking_sandbox.ls("/") == ["made"]


def test_a_blocking_call_on_the_loop_itself_is_refused(blocking_sandbox: cove.Sandbox) -> None:
    async def misuse() -> None:
        blocking_sandbox.poll()

    with pytest.raises(ExecutionError, match="own event loop"):
        BRIDGE.run(misuse())


SCRIPT = """
import json, os, sys
import cove
sandbox = cove.Sandbox.create(app=cove.App.lookup("app", create_if_missing=True))
process = sandbox.exec("script")
"""


def run_script(code: str, *, interrupt: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``code`` after :data:`SCRIPT` in a Python of its own; with ``interrupt``, press Ctrl-C when it says "ready", and call that."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT + code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            if interrupt is not None:
                assert child.stdout.readline() == "ready\n"
                time.sleep(0.1)  # until it is inside the call that is to be interrupted
                child.send_signal(signal.SIGINT)
                assert child.stdout.readline() == "interrupted\n"
                interrupt()
            output, errors = child.communicate(timeout=15)
        finally:
            child.kill()
    return subprocess.CompletedProcess(command, child.returncode, output, errors)


INTERRUPTED = """
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
print({after})
"""


@pytest.mark.parametrize(
    ("call", "after", "printed"),
    [
        ("process.wait()", "process.wait(), process.stdout.read()", "0 late\n\n"),
        ("next(process.stdout)", "list(process.stdout)", "['late\\n']\n"),
        ("process.stdout.read()", "process.stdout.read()", "late\n\n"),
    ],
)
def test_ctrl_c_ends_a_call_that_can_be_made_again(blocking_server: FakeServer, call: str, after: str, printed: str) -> None:
    def go_on() -> None:
        script = blocking_server.world.last_process
        BRIDGE.run(_on_bridge(lambda: script.write(b"late\n")))
        BRIDGE.run(_on_bridge(script.end))

    result = run_script(INTERRUPTED.format(call=call, after=after), interrupt=go_on)
    assert (result.stdout, result.stderr, result.returncode) == (printed, "", 0)


@pytest.mark.parametrize(
    "last_act",
    [
        "",
        "import threading; threading.Thread(target=lambda: process.wait(), daemon=True).start()",
        "iterator = iter(process.stdout); import threading; threading.Thread(target=lambda: next(iterator), daemon=True).start()",
        "import atexit; atexit.register(lambda: print('at exit', sandbox.poll()))",
        "sandbox.upload(sys.executable, '/x')",
        "file = sandbox.open('/x', 'w'); file.write('y')",
        "import asyncio; asyncio.run(process.poll.aio())",
        "raise SystemExit(0)",
    ],
)
def test_the_interpreter_ends_in_silence(blocking_server: FakeServer, last_act: str) -> None:
    start = time.monotonic()
    result = run_script(last_act)
    expected = "at exit None\n" if "at exit" in last_act else ""
    assert (result.stdout, result.stderr, result.returncode) == (expected, "", 0)
    assert time.monotonic() - start < 12


def test_a_forked_child_is_told(blocking_server: FakeServer) -> None:
    result = run_script(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork in a process with threads
child = os.fork()
if child == 0:
    try:
        sandbox.poll()
    except cove.exception.ExecutionError as error:
        os.write(1, json.dumps([error.cause, error.remedy]).encode())
    os._exit(0)
os.waitpid(child, 0)
assert sandbox.poll() is None
"""
    )
    assert result.returncode == 0, result.stderr
    cause, remedy = json.loads(result.stdout)
    assert "forked" in cause
    assert "spawn" in remedy


def test_a_child_forked_before_the_first_call_works() -> None:
    code = """
import os
import cove
child = os.fork()
if child == 0:
    try:
        cove.App.lookup("app")
    except cove.exception.AuthError:
        os._exit(0)
    os._exit(1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "COVE_CONFIG_PATH": "/nonexistent"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=15, check=False).returncode == 0


def test_import_loads_little() -> None:
    code = "import cove, sys; print([name for name in ('grpc', 'aiohttp', 'google.protobuf', 'asyncio') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=True).stdout == "[]\n"
    code = "import cove, sys; cove.Sandbox; print([name for name in ('aiohttp', 'typer', 'rich') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=True).stdout == "[]\n"


def test_public_names() -> None:
    for name in cove.__all__:
        assert getattr(cove, name) is not None
    assert set(cove.__all__) <= set(dir(cove))
    assert cove.Error is cove.exception.Error
    assert cove.is_local()
    with cove.enable_output():
        pass
    with pytest.raises(AttributeError):
        _ = cove.nonsense

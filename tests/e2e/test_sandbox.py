"""A sandbox's life: what it is created with, how it is found, how its end is told."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import cove
from cove.exception import (
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    NotFoundError,
    SandboxOutOfMemoryError,
    SandboxTerminatedError,
    SandboxTimeoutError,
    UnimplementedError,
)
from cove.types import new_id
from tests.support.live_fixtures import Sandboxes


def said(sandbox: cove.Sandbox, *command: str) -> str:
    """What a command that succeeds prints."""
    process = sandbox.exec(*command)
    output = process.stdout.read()
    assert process.wait() == 0, process.stderr.read()
    return output


# --- the main process --------------------------------------------------------------------------------------------------------------------


def test_main_process_ends_the_sandbox_with_its_code(sandboxes: Sandboxes) -> None:
    script = "echo $GREETING; pwd; echo oops >&2; read line; echo got $line; exit 3"
    secret = cove.Secret.from_dict({"GREETING": "hello"})
    sandbox = sandboxes.create("sh", "-c", script, secrets=[secret], workdir="/usr")
    sandbox.stdin.write("a line\n")
    sandbox.stdin.drain()
    assert list(sandbox.stdout) == ["hello\n", "/usr\n", "got a line\n"]
    sandbox.wait()
    assert (sandbox.returncode, sandbox.poll()) == (3, 3)
    assert sandbox.stderr.read() == "oops\n"
    again = cove.Sandbox.from_id(sandbox.object_id)
    assert (again.returncode, again.stdout.read()) == (3, "hello\n/usr\ngot a line\n")
    with pytest.raises(ConflictError) as caught:
        sandbox.exec("true")
    assert caught.value.code == "sandbox_ended"
    sandbox.terminate()
    assert sandbox.poll() == 3


def test_main_process_on_a_terminal_and_with_bytes_that_are_no_text(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("sh", "-c", 'tty; printf %s "$1" | od -An -tx1', "sh", "\udcff\udc80", pty=True)
    output = sandbox.stdout.read()
    assert "/dev/pts/" in output
    assert "ff 80" in output
    sandbox.wait()
    assert sandbox.returncode == 0


def test_main_process_that_cannot_start(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("no-such-program")
    with pytest.raises(cove.Error, match="no-such-program"):
        sandbox.wait()
    assert sandbox.returncode is not None
    assert sandbox.returncode != 0


def test_killed_main_process(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("sh", "-c", "kill -9 $$")
    sandbox.wait()
    assert sandbox.returncode == 137


# --- ends told apart ---------------------------------------------------------------------------------------------------------------------


def test_terminate(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("sh", "-c", "echo up; sleep 100")
    assert next(iter(sandbox.stdout)) == "up\n"
    process = sandbox.exec("sleep", "100")
    assert (sandbox.poll(), sandbox.returncode) == (None, None)
    begun = time.monotonic()
    sandbox.terminate()
    assert time.monotonic() - begun < 2
    assert process.wait() == 137
    sandbox.wait(raise_on_termination=False)
    with pytest.raises(SandboxTerminatedError):
        sandbox.wait()
    assert (sandbox.returncode, sandbox.poll()) == (137, 137)
    sandbox.terminate()


async def test_lifetime(app: cove.App) -> None:
    sandbox = await cove.Sandbox.create.aio(app=app, timeout=2, block_network=True)
    process = await sandbox.exec.aio("sh", "-c", "echo begun; sleep 100")
    with pytest.raises(SandboxTimeoutError, match="lifetime"):
        await sandbox.wait.aio(raise_on_termination=False)
    assert sandbox.returncode == 124
    assert await process.wait.aio() == 137
    assert await process.stdout.read.aio() == "begun\n"


def test_idle_time_counts_execs_and_input_but_not_the_main_process(sandboxes: Sandboxes) -> None:
    idle = sandboxes.create("sh", "-c", "while :; do sleep 0.1; done", idle_timeout=2)
    busy = sandboxes.create("cat", idle_timeout=2)
    process = idle.exec("sleep", "2.5")
    for _ in range(8):  # 2.8 s of input
        busy.stdin.write("x\n")
        busy.stdin.drain()
        time.sleep(0.35)
    assert process.wait() == 0
    assert (idle.poll(), busy.poll()) == (None, None)
    for sandbox in (idle, busy):
        with pytest.raises(SandboxTimeoutError, match="idle"):
            sandbox.wait()
        assert sandbox.returncode == 124


def test_out_of_memory(sandboxes: Sandboxes, shared: cove.Sandbox) -> None:
    sandbox = sandboxes.create(memory=(64, 128))
    process = sandbox.exec("python3", "-c", "print('growing', flush=True); x = bytearray(600 << 20); print(len(x))")
    with pytest.raises(SandboxOutOfMemoryError, match="128 MiB"):
        sandbox.wait(raise_on_termination=False)
    assert sandbox.returncode == 137
    assert process.wait() == 137
    assert process.stdout.read() == "growing\n"
    assert said(shared, "echo", "fine") == "fine\n"


# --- limits seen inside ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cpu", "memory", "cores", "mib"), [((0.5, 1), (128, 300), 1, 300), ((0.25, 1.5), (64, 1024), 2, 1024)])
def test_programs_see_the_limits(sandboxes: Sandboxes, cpu: tuple[float, float], memory: tuple[int, int], cores: int, mib: int) -> None:
    sandbox = sandboxes.create(cpu=cpu, memory=memory)
    assert said(sandbox, "nproc") == f"{cores}\n"
    assert said(sandbox, "python3", "-c", "import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))") == f"{cores} {cores}\n"
    total = next(line for line in said(sandbox, "cat", "/proc/meminfo").splitlines() if line.startswith("MemTotal"))
    assert 0.95 * mib <= int(total.split()[1]) / 1024 <= mib


# --- names, tags, lists ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def name() -> str:
    return "n." + new_id("nn").replace("-", "_")


def test_name_is_taken_until_the_sandbox_has_stopped(sandboxes: Sandboxes, name: str) -> None:
    first = sandboxes.create(name=name)
    assert cove.Sandbox.from_name("tests", name).object_id == first.object_id
    with pytest.raises(AlreadyExistsError, match=name):
        sandboxes.create(name=name)
    first.exec("true").wait()
    first.terminate()
    if first.poll() is None:
        with pytest.raises(AlreadyExistsError):
            sandboxes.create(name=name)
    first.wait(raise_on_termination=False)
    with pytest.raises(NotFoundError):
        cove.Sandbox.from_name("tests", name)
    second = sandboxes.create(name=name)
    assert cove.Sandbox.from_name("tests", name).object_id == second.object_id


def test_names_are_of_an_app(sandboxes: Sandboxes, name: str) -> None:
    sandboxes.create(name=name)
    other = Sandboxes(cove.App.lookup("tests-other", create_if_missing=True))
    try:
        sandbox = other.create(name=name)
        assert cove.Sandbox.from_name("tests-other", name).object_id == sandbox.object_id
    finally:
        other.end()
    with pytest.raises(NotFoundError):
        cove.Sandbox.from_name("no-such-app", name)


@pytest.mark.parametrize("bad", ["", "a" * 64, "a b", "a/b", "ü", "a\n", "..;", "sb-" + "a" * 22])
def test_bad_names_are_refused(sandboxes: Sandboxes, bad: str) -> None:
    with pytest.raises(InvalidError):
        sandboxes.create(name=bad)


def test_name_of_63_characters(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create(name="a" * 60 + "._-")
    assert cove.Sandbox.from_name("tests", "a" * 60 + "._-").object_id == sandbox.object_id


def test_tags_filter_with_and(sandboxes: Sandboxes, app: cove.App) -> None:
    run = new_id("tg")
    both = sandboxes.create(tags={"run": run, "kind": "a", "more": "x"})
    one = sandboxes.create(tags={"run": run})
    one.set_tags({"run": run, "kind": "b"})
    assert one.get_tags() == {"run": run, "kind": "b"}

    def ids(**tags: str) -> set[str]:
        return {sandbox.object_id for sandbox in cove.Sandbox.list(app_id=app.app_id, tags=tags)}

    assert ids(run=run) == {both.object_id, one.object_id}
    assert ids(run=run, kind="a") == {both.object_id}
    assert ids(run=run, kind="c") == ids(run=run, other="x") == set()
    one.terminate()
    one.wait(raise_on_termination=False)
    assert ids(run=run) == {both.object_id}
    listed = next(iter(cove.Sandbox.list(tags={"run": run})))
    assert (listed.returncode, listed.get_tags()) == (None, {"run": run, "kind": "a", "more": "x"})
    both.set_tags({})
    assert both.get_tags() == {}
    assert ids(run=run) == set()


async def test_async_life(app: cove.App) -> None:
    sandbox = await cove.Sandbox.create.aio(app=app, tags={"async": "yes"}, block_network=True)
    try:
        found = [each.object_id async for each in cove.Sandbox.list(tags={"async": "yes"})]
        assert found == [sandbox.object_id]
        again = await cove.Sandbox.from_id.aio(sandbox.object_id)
        process = await again.exec.aio("echo", "hi")
        assert await process.stdout.read.aio() == "hi\n"
        assert await sandbox.poll.aio() is None
    finally:
        await sandbox.terminate.aio()
        await sandbox.wait.aio(raise_on_termination=False)
    assert sandbox.returncode == 137


# --- what is refused ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_created(app: cove.App) -> Iterator[None]:
    before = {sandbox.object_id for sandbox in cove.Sandbox.list(app_id=app.app_id)}
    yield
    assert {sandbox.object_id for sandbox in cove.Sandbox.list(app_id=app.app_id)} <= before


@pytest.mark.usefixtures("nothing_created")
@pytest.mark.parametrize(
    "options",
    [
        {"timeout": -1},
        {"timeout": 0},
        {"timeout": 86_401},
        {"idle_timeout": -5},
        {"cpu": -1},
        {"cpu": 1e9},
        {"cpu": (2, 1)},
        {"memory": 0},
        {"memory": (512, 128)},
        {"memory": 2**62},
        {"memory": (16, 2**50)},
        {"workdir": "relative"},
        {"workdir": "/a\0b"},
        {"workdir": "/" + "x" * 5000},
        {"env": {"A=B": "c"}},
        {"env": {"": "c"}},
        {"env": {"A": "x\0"}},
        {"env": {"A": "x" * 2_000_000}},
        {"tags": {"": "x"}},
        {"tags": {"a": "x" * 2000}},
        {"tags": {str(number): "" for number in range(100)}},
    ],
    ids=str,
)
def test_absurd_requests_change_nothing(sandboxes: Sandboxes, options: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        sandboxes.create("true", **options)


@pytest.mark.usefixtures("nothing_created")
@pytest.mark.parametrize("command", [["a\0b"], [""], ["x" * 200_000], ["x"] * 20_000])
def test_absurd_commands_change_nothing(sandboxes: Sandboxes, command: list[str]) -> None:
    with pytest.raises(InvalidError):
        sandboxes.create(*command)


@pytest.mark.parametrize("options", [{"gpu": "any"}, {"volumes": {"/v": object()}}, {"region": "moon"}])
def test_what_is_to_come_is_named(sandboxes: Sandboxes, options: dict[str, object]) -> None:
    with pytest.raises(UnimplementedError, match=next(iter(options))):
        sandboxes.create(**options)


def test_unknown_things(app: cove.App) -> None:
    with pytest.raises(NotFoundError):
        cove.Sandbox.from_id(new_id("sb"))
    with pytest.raises((NotFoundError, InvalidError)):
        cove.Sandbox.from_id("../../etc/passwd")
    with pytest.raises(NotFoundError):
        cove.App.lookup("never-made")
    with pytest.raises(InvalidError, match="App"):
        cove.Sandbox.create()

"""Sandboxes: what is asked for, how they are found, how they end."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from cove._async.app import _App
from cove._async.client import _Client
from cove._async.image import _Image
from cove._async.sandbox import _Sandbox
from cove._async.secret import _Secret
from cove.exception import (
    AlreadyExistsError,
    DeprecationError,
    Error,
    InternalFailure,
    InvalidError,
    NotFoundError,
    RemoteError,
    SandboxOutOfMemoryError,
    SandboxTerminatedError,
    SandboxTimeoutError,
    UnimplementedError,
)
from cove.wire import common_pb2, image_pb2, network_pb2
from tests.support.fake_server import World

MIB = 2**20


@pytest.fixture
async def app(client: _Client) -> _App:
    return await _App.lookup("app", client=client, create_if_missing=True)


async def test_lookup(client: _Client, world: World) -> None:
    with pytest.raises(NotFoundError):
        await _App.lookup("absent", client=client)
    app = await _App.lookup("absent", client=client, create_if_missing=True)
    assert (app.name, app.app_id, app.description) == ("absent", world.apps["absent"], "absent")
    assert (await _App.lookup("absent", client=client)).app_id == app.app_id


@pytest.mark.parametrize("name", ["", "with space", "a/b", "x" * 65, "ä", "a\n"])
async def test_bad_app_names(name: str, client: _Client) -> None:
    with pytest.raises(InvalidError):
        await _App.lookup(name, client=client)


async def test_an_app_is_needed(client: _Client) -> None:
    with pytest.raises(InvalidError, match=r"App\.lookup"):
        await _Sandbox.create(client=client)
    with pytest.raises(InvalidError, match="not looked up"):
        await _Sandbox.create(app=_App("local"), client=client)


async def test_everything_asked_for_is_in_the_request(client: _Client, app: _App, world: World) -> None:
    sandbox = await _Sandbox.create(
        "python",
        "-c",
        "print('ü')",
        app=app,
        name="my-name",
        image=_Image.from_rootfs("/images/a.tar"),
        env={"A": "env", "GONE": None},
        secrets=[_Secret.from_dict({"A": "secret", "B": "two"})],
        timeout=600,
        idle_timeout=60,
        workdir="/repo",
        cpu=(0.5, 2),
        memory=(256, 512),
        block_network=True,
        pty=True,
        verbose=True,
        tags={"k": "v"},
        client=client,
    )
    spec, info = world.only.spec, world.only.info
    assert list(spec.command) == [b"python", b"-c", "print('ü')".encode()]
    assert dict(spec.env) == {"A": "env", "B": "two"}
    assert (spec.timeout_s, spec.idle_timeout_s, spec.workdir, spec.pty, spec.verbose) == (600, 60, "/repo", True, True)
    assert (spec.resources.cpu_request_millis, spec.resources.cpu_limit_millis) == (500, 2000)
    assert (spec.resources.memory_request_bytes, spec.resources.memory_limit_bytes) == (256 * MIB, 512 * MIB)
    assert spec.network == network_pb2.NetworkPolicy(mode=network_pb2.NETWORK_MODE_BLOCKED)
    assert spec.image.rootfs_path == "/images/a.tar"
    assert (info.name, dict(info.tags), info.app_id) == ("my-name", {"k": "v"}, app.app_id)
    assert (sandbox.object_id, sandbox.task_id) == (info.sandbox_id, info.task_id)


async def test_defaults(client: _Client, app: _App, world: World) -> None:
    world.pythons = ["3.9", "3.10"]
    await _Sandbox.create(app=app, client=client)
    spec = world.only.spec
    assert (list(spec.command), spec.timeout_s, spec.idle_timeout_s, spec.network) == ([], 300, 0, network_pb2.NetworkPolicy())
    assert spec.resources == common_pb2.Resources()
    assert spec.image.debian == "3.10"


async def test_the_clients_own_python_comes_first(client: _Client, app: _App, world: World) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    world.pythons = ["3.9", own, "3.99"]
    await _Sandbox.create(app=app, image=_Image.debian_slim(), client=client)
    assert world.only.spec.image.debian == own


@pytest.mark.parametrize(("asked", "sent"), [("3.12", "3.12"), ("3.12.4", "3.12")])
async def test_a_python_asked_for_is_sent(client: _Client, app: _App, world: World, asked: str, sent: str) -> None:
    await _Sandbox.create(app=app, image=_Image.debian_slim(asked), client=client)
    assert world.only.spec.image.debian == sent
    assert world.calls["Hello"] == 1
    await _Sandbox.create(app=app, image=_Image.debian_slim(asked), client=client)
    assert world.calls["Hello"] == 1  # once for a connection
    assert not world.images.builds


@pytest.mark.parametrize("image", [None, _Image.debian_slim(), _Image.debian_slim("3.9")])
async def test_a_python_that_comes_from_a_registry_is_built_first(client: _Client, app: _App, world: World, image: _Image | None) -> None:
    world.pythons = world.pulled = ["3.9"]
    await _Sandbox.create(app=app, image=image, client=client)
    (build,) = world.images.builds
    assert build.definition == image_pb2.ImageDefinition(debian="3.9")
    assert world.only.spec.image.image_id


@pytest.mark.parametrize("version", ["", "3", "2.7", "3.x", "3.11; rm", 3.11])
def test_bad_python_versions(version: Any) -> None:
    with pytest.raises(InvalidError):
        _Image.debian_slim(version)


@pytest.mark.parametrize("path", ["relative", "", "/nul\0"])
def test_bad_rootfs_paths(path: str) -> None:
    with pytest.raises(InvalidError):
        _Image.from_rootfs(path)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": 2**32},
        {"timeout": "10"},
        {"idle_timeout": 0},
        {"cpu": 0},
        {"cpu": -0.5},
        {"cpu": float("nan")},
        {"cpu": (2, 1)},
        {"cpu": (1, 2, 3)},
        {"cpu": 1e12},
        {"memory": -1},
        {"memory": (512, 256)},
        {"memory": True},
        {"name": "x" * 64},
        {"name": ""},
        {"name": "a b"},
        {"tags": {"a": 1}},
        {"tags": {"": "a"}},
        {"env": {"A=B": "c"}},
    ],
)
async def test_nonsense_is_refused_before_it_is_sent(client: _Client, app: _App, world: World, options: dict[str, Any]) -> None:
    world.calls.clear()
    with pytest.raises(InvalidError):
        await _Sandbox.create(app=app, client=client, **options)
    assert not world.calls


@pytest.mark.parametrize(
    "options",
    [
        {"gpu": "A100"},
        {"cloud": "aws"},
        {"region": "eu"},
        {"volumes": {"/data": object()}},
        {"network_file_systems": {"/data": object()}},
        {"experimental_options": {"x": True}},
        {"pty_info": object()},
    ],
)
async def test_what_is_not_there_yet_is_named(client: _Client, app: _App, options: dict[str, Any]) -> None:
    with pytest.raises(UnimplementedError, match=next(iter(options))):
        await _Sandbox.create(app=app, client=client, **options)


async def test_environment_name_warns(client: _Client, app: _App) -> None:
    with pytest.warns(DeprecationError):
        await _Sandbox.create(app=app, client=client, environment_name="main")


async def test_names(client: _Client, app: _App) -> None:
    name = "x" * 63
    first = await _Sandbox.create(app=app, name=name, client=client)
    with pytest.raises(AlreadyExistsError):
        await _Sandbox.create(app=app, name=name, client=client)
    assert (await _Sandbox.from_name("app", name, client=client)).object_id == first.object_id
    await first.terminate()
    with pytest.raises(NotFoundError):
        await _Sandbox.from_name("app", name, client=client)
    await _Sandbox.create(app=app, name=name, client=client)


async def test_from_id_brings_the_result(client: _Client, sandbox: _Sandbox, world: World) -> None:
    found = await _Sandbox.from_id(sandbox.object_id, client=client)
    assert found.returncode is None
    world.only.end(common_pb2.END_REASON_FAILURE, 3)
    found = await _Sandbox.from_id(sandbox.object_id, client=client)
    assert found.returncode == 3
    with pytest.raises(NotFoundError):
        await _Sandbox.from_id("sb-none", client=client)


async def test_list_goes_through_all_pages(client: _Client, app: _App, world: World) -> None:
    made = [await _Sandbox.create(app=app, client=client, tags={"parity": str(number % 2)}) for number in range(205)]
    assert [sandbox.object_id async for sandbox in _Sandbox.list(client=client)] == [sandbox.object_id for sandbox in made]
    assert world.calls["SandboxList"] == 3
    odd = [sandbox async for sandbox in _Sandbox.list(app_id=app.app_id, tags={"parity": "1"}, client=client)]
    assert len(odd) == 102
    assert all(sandbox.returncode is None for sandbox in odd)
    assert [sandbox async for sandbox in _Sandbox.list(app_id="ap-other", client=client)] == []


async def test_tags(sandbox: _Sandbox) -> None:
    await sandbox.set_tags({"a": "1", "b": "2"})
    await sandbox.set_tags({"b": "3"})
    assert await sandbox.get_tags() == {"b": "3"}


@pytest.mark.parametrize(
    ("reason", "exit_code", "error", "text"),
    [
        (common_pb2.END_REASON_TIMEOUT, 124, SandboxTimeoutError, "lifetime"),
        (common_pb2.END_REASON_IDLE_TIMEOUT, 124, SandboxTimeoutError, "idle"),
        (common_pb2.END_REASON_TERMINATED, 137, SandboxTerminatedError, "terminated"),
        (common_pb2.END_REASON_OUT_OF_MEMORY, 137, SandboxOutOfMemoryError, "memory"),
        (common_pb2.END_REASON_INIT_FAILURE, 1, RemoteError, "come up"),
        (common_pb2.END_REASON_INTERNAL_FAILURE, 137, InternalFailure, "lost"),
    ],
)
async def test_ends_that_are_errors(
    sandbox: _Sandbox, world: World, reason: common_pb2.EndReason, exit_code: int, error: type[Error], text: str
) -> None:
    assert await sandbox.poll() is None
    world.only.end(reason, exit_code)
    with pytest.raises(error, match=text) as caught:
        await sandbox.wait()
    assert type(caught.value) is error
    assert (sandbox.returncode, await sandbox.poll()) == (exit_code, exit_code)
    assert caught.value.context["sandbox_id"] == sandbox.object_id
    if reason == common_pb2.END_REASON_TERMINATED:
        await sandbox.wait(raise_on_termination=False)
    else:
        with pytest.raises(error):
            await sandbox.wait(raise_on_termination=False)


@pytest.mark.parametrize(("reason", "exit_code"), [(common_pb2.END_REASON_SUCCESS, 0), (common_pb2.END_REASON_FAILURE, 5)])
async def test_ends_that_are_results(sandbox: _Sandbox, world: World, reason: common_pb2.EndReason, exit_code: int) -> None:
    world.only.end(reason, exit_code)
    await sandbox.wait()
    assert sandbox.returncode == exit_code


async def test_the_servers_words_are_kept(sandbox: _Sandbox, world: World) -> None:
    world.only.end(common_pb2.END_REASON_INIT_FAILURE, 1, "The image has no /bin/sh. Choose another.")
    with pytest.raises(RemoteError, match="no /bin/sh"):
        await sandbox.wait()


async def test_terminate_twice(sandbox: _Sandbox) -> None:
    await sandbox.terminate()
    await sandbox.terminate()
    await sandbox.wait(raise_on_termination=False)
    assert sandbox.returncode == 137


async def test_hydrate_fetches(sandbox: _Sandbox, world: World) -> None:
    world.only.end(common_pb2.END_REASON_FAILURE, 9)
    assert sandbox.returncode is None
    assert (await sandbox.hydrate()).returncode == 9

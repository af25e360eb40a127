"""Building images: what is uploaded and how, what the stream of events does to the caller, and what the terminal shows."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import cove
from cove._async.app import _App
from cove._async.client import _Client
from cove._async.image import _Image
from cove._async.sandbox import _Sandbox
from cove._build_output import BuildOutput, clean
from cove._image.definition import LocalBlob
from cove._transport import blobs
from cove.exception import (
    AuthError,
    ConflictError,
    ConnectionError,
    InvalidError,
    NotFoundError,
    RemoteError,
    ServiceError,
    TimeoutError,
    UnimplementedError,
)
from cove.types import FileChange
from cove.wire import image_pb2
from tests.support.fake_server import FakeServer, World
from tests.unit.sdk.conftest import client_of

BIG = bytes(range(256)) * 12_000  # three pieces and a part


@pytest.fixture
async def app(client: _Client) -> _App:
    return await _App.lookup("app", client=client, create_if_missing=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with an empty, a small and a large file, two of them alike."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "empty").touch()
    (root / "small").write_bytes(b"small")
    (root / "same").write_bytes(b"small")
    (root / "large").write_bytes(BIG)
    return root


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


async def test_an_image_is_built_once(app: _App, world: World) -> None:
    image = _Image.debian_slim("3.11").run_commands("true")
    assert image.object_id is None
    assert await image.build(app) is image
    assert image.object_id in world.images.known
    await asyncio.gather(image.build(app), image.build(app))
    (request,) = world.images.builds
    assert request.app_id == app.app_id
    assert not (request.force_build or request.ignore_cache)
    assert list(request.definition.layers[0].commands) == ["RUN true"]


async def test_forked_images_are_built_by_themselves(app: _App, world: World) -> None:
    base = await _Image.debian_slim("3.11").run_commands("a").build(app)
    other = await base.run_commands("b").build(app)
    assert other.object_id != base.object_id
    assert [len(request.definition.layers) for request in world.images.builds] == [1, 2]


async def test_a_bare_base_can_be_built(app: _App, world: World) -> None:
    await _Image.debian_slim().build(app)
    assert world.images.builds[0].definition.debian in world.pythons


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("COVE_FORCE_BUILD", "1", (True, False)),
        ("COVE_IGNORE_CACHE", "true", (False, True)),
        ("COVE_FORCE_BUILD", "0", (False, False)),
    ],
)
async def test_switches_of_the_environment(
    app: _App, world: World, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: tuple[bool, bool]
) -> None:
    monkeypatch.setenv(variable, value)
    await _Image.debian_slim("3.11").run_commands("x").build(app)
    (request,) = world.images.builds
    assert (request.force_build, request.ignore_cache) == expected


async def test_a_forced_base_forces_everything(app: _App, world: World) -> None:
    await _Image.debian_slim("3.11", force_build=True).build(app)
    assert world.images.builds[0].force_build


async def test_an_app_without_an_id(client: _Client) -> None:
    with pytest.raises(InvalidError, match="lookup"):
        await _Image.debian_slim().build(_App("x"))


async def test_each_content_is_uploaded_once(app: _App, world: World, tree: Path) -> None:
    image = _Image.debian_slim("3.11").add_local_dir(tree, "/x")
    await image.build(app)
    assert world.images.blobs == {digest(content): content for content in (b"", b"small", BIG)}
    assert world.calls["put_blob"] == 3
    await _Image.debian_slim("3.12").add_local_dir(tree, "/y").build(app)
    assert world.calls["put_blob"] == 3


async def test_a_cut_upload_begins_again(app: _App, world: World, tree: Path) -> None:
    world.fail_next["blob_cut"] = [Exception()] * 4
    await _Image.debian_slim("3.11").add_local_dir(tree, "/x").build(app)
    assert set(world.images.blobs) == {digest(content) for content in (b"", b"small", BIG)}
    assert world.calls["put_blob"] == 7


async def test_a_busy_store_is_asked_again(app: _App, world: World, tree: Path) -> None:
    world.fail_next["put_blob"] = [ServiceError("busy"), ServiceError("busy")]
    await _Image.debian_slim("3.11").add_local_dir(tree, "/x").build(app)
    assert len(world.images.blobs) == 3


async def test_what_the_store_refuses_ends_the_build(app: _App, world: World, tree: Path) -> None:
    world.fail_next["put_blob"] = [InvalidError("no")] * 10
    with pytest.raises(InvalidError, match="no"):
        await _Image.debian_slim("3.11").add_local_dir(tree, "/x").build(app)
    assert not world.images.builds


async def test_uploads_give_up_in_time(server: FakeServer, world: World, tree: Path) -> None:
    client = client_of(server, reconnect_s=0.0)
    world.fail_next["blob_cut"] = [Exception()] * 100
    with pytest.raises(ConnectionError, match="broke off"):
        await blobs.upload_missing(client.connection, [blob_of(tree / "large")])
    await client.close()


def blob_of(path: Path, content: bytes | None = None) -> LocalBlob:
    found = path.read_bytes() if content is None else content
    return LocalBlob(digest(found), path, len(found))


async def test_few_are_uploaded_at_once(client: _Client, world: World, tmp_path: Path) -> None:
    many = []
    for number in range(3 * blobs.PARALLEL):
        file = tmp_path / str(number)
        file.write_text(str(number))
        many.append(blob_of(file))
    world.images.hold = asyncio.Event()
    upload = asyncio.create_task(blobs.upload_missing(client.connection, many))
    await world.until_called("put_blob", blobs.PARALLEL)
    world.images.hold.set()
    assert await upload == len(many)
    assert world.images.most_at_once == blobs.PARALLEL


@pytest.mark.parametrize("change", ["content", "shorter", "longer", "gone"])
@pytest.mark.parametrize("size_bytes", [10, 3 * 2**20 + 5])
async def test_a_file_that_changes_is_not_passed_off_as_what_it_was(
    client: _Client, world: World, tmp_path: Path, change: str, size_bytes: int
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * size_bytes)
    blob = blob_of(file)
    if change == "gone":
        file.unlink()
    else:
        file.write_bytes(
            {"content": b"a" * (size_bytes - 1) + b"b", "shorter": b"a" * (size_bytes - 1), "longer": b"b" + b"a" * size_bytes}[change]
        )
    with pytest.raises(InvalidError, match="changed"):
        await blobs.upload_missing(client.connection, [blob])
    assert not world.images.blobs


async def test_what_was_appended_does_not_matter(client: _Client, world: World, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"line")
    blob = blob_of(file)
    file.write_bytes(b"line and more")
    await blobs.upload_missing(client.connection, [blob])
    assert list(world.images.blobs.values()) == [b"line"]


async def test_no_memory_for_whole_files(client: _Client, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "PIECE_BYTES", 1000)
    reads: list[int] = []

    def read(path: Path, offset: int, most: int, hashed: hashlib._Hash) -> bytes:
        reads.append(most)
        piece = path.read_bytes()[offset : offset + most]
        hashed.update(piece)
        return piece

    monkeypatch.setattr(blobs, "_read", read)
    (tmp_path / "x").write_bytes(b"x" * 2500)
    await blobs.upload_missing(client.connection, [blob_of(tmp_path / "x")])
    assert reads == [1000, 1000, 500]


async def test_the_router_tells_its_http_address(client: _Client, world: World, server: FakeServer, tmp_path: Path) -> None:
    client.connection.server = replace(client.connection.server, http_url="")
    world.told_http_url = server.http_url + "/"
    (tmp_path / "x").write_bytes(b"x")
    assert await blobs.upload_missing(client.connection, [blob_of(tmp_path / "x")]) == 1
    assert world.images.blobs


async def test_what_was_configured_counts_more_than_what_the_router_tells(client: _Client, world: World, tmp_path: Path) -> None:
    world.told_http_url = "http://127.0.0.1:1"
    (tmp_path / "x").write_bytes(b"x")
    assert await blobs.upload_missing(client.connection, [blob_of(tmp_path / "x")]) == 1


async def test_an_address_that_leads_nowhere_is_named(client: _Client, world: World, tmp_path: Path) -> None:
    client.connection.server = replace(client.connection.server, http_url="", reconnect_s=0)
    world.told_http_url = "http://127.0.0.1:1"
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1 .*COVE_SERVER_HTTP_URL"):
        await blobs.upload_missing(client.connection, [blob_of(tmp_path / "x")])


@pytest.mark.parametrize("url", ["", "localhost:1", "http://", "nonsense"])
async def test_without_an_http_address_it_says_what_to_set(client: _Client, tmp_path: Path, url: str) -> None:
    client.connection.server = replace(client.connection.server, http_url=url)
    (tmp_path / "x").touch()
    with pytest.raises(InvalidError, match="COVE_SERVER_HTTP_URL"):
        await blobs.upload_missing(client.connection, [blob_of(tmp_path / "x")])
    assert await blobs.upload_missing(client.connection, []) == 0


async def test_many_hashes_are_asked_for_in_parts(client: _Client, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(blobs, "MOST_ASKED", 2)
    files = []
    for number in range(5):
        file = tmp_path / str(number)
        file.write_text(str(number))
        files.append(blob_of(file))
    assert await blobs.upload_missing(client.connection, files) == 5
    assert world.calls["BlobsMissing"] == 3


async def test_a_stream_that_ends_early_is_asked_for_again(app: _App, world: World) -> None:
    world.images.logs = [image_pb2.ImageBuildLog(layer=1, data=b"x\n")]
    world.images.end_early = 2
    image = await _Image.debian_slim("3.11").run_commands("x").build(app)
    assert image.object_id in world.images.known
    assert len(world.images.builds) == 3


async def test_a_router_that_restarts(server: FakeServer, app: _App, world: World) -> None:
    world.fail_next["ImageBuild"] = [ConnectionError("gone")]
    image = await _Image.debian_slim("3.11").run_commands("x").build(app)
    assert image.object_id is not None


async def test_a_failed_step_is_the_callers_error_and_can_be_tried_again(app: _App, world: World) -> None:
    world.images.fail_with = RemoteError("Step 1 failed: exit code 1.\npip: no such package")
    image = _Image.debian_slim("3.11").run_commands("x")
    with pytest.raises(RemoteError, match="no such package"):
        await image.build(app)
    assert image.object_id is None
    world.images.fail_with = None
    assert (await image.build(app)).object_id is not None


async def test_another_server_builds_for_itself(app: _App, world: World) -> None:
    image = await _Image.debian_slim("3.11").run_commands("x").build(app)
    first = image.object_id
    second_server = await FakeServer().start()
    second = client_of(second_server)
    await image.build(await _App.lookup("app", client=second, create_if_missing=True))
    assert image.object_id != first
    assert image.object_id in second_server.world.images.known
    await second.close()
    await second_server.stop()


async def test_sandboxes_start_from_what_was_built(app: _App, client: _Client, world: World) -> None:
    image = _Image.debian_slim("3.11").run_commands("x")
    await _Sandbox.create(app=app, image=image)
    await _Sandbox.create(app=app, client=client, image=image)
    assert [sandbox.spec.image.image_id for sandbox in world.sandboxes.values()] == [image.object_id] * 2
    assert len(world.images.builds) == 1


@pytest.mark.parametrize(
    ("image", "field", "value"),
    [
        (_Image.debian_slim("3.11"), "debian", "3.11"),
        (_Image.from_rootfs("/r.tar"), "rootfs_path", "/r.tar"),
        (_Image.from_id("im-x"), "image_id", "im-x"),
    ],
)
async def test_what_needs_no_build_is_not_built(app: _App, world: World, image: _Image, field: str, value: str) -> None:
    await _Sandbox.create(app=app, image=image)
    assert getattr(world.only.spec.image, field) == value
    assert not world.images.builds


async def test_a_sandbox_of_an_image_that_fails_is_not_made(app: _App, world: World) -> None:
    with pytest.raises(UnimplementedError):
        await _Sandbox.create(app=app, image=_Image.debian_slim("3.11").run_function(print))
    assert not world.sandboxes


async def test_a_snapshot_is_an_image(app: _App, world: World) -> None:
    sandbox = await _Sandbox.create(app=app)
    image = await sandbox.snapshot_filesystem(timeout=7)
    assert image.object_id in world.images.known
    assert world.images.snapshots[0].timeout_s == 7
    await _Sandbox.create(app=app, image=image)
    assert list(world.sandboxes.values())[1].spec.image.image_id == image.object_id
    await image.run_commands("x").build(app)
    assert world.images.builds[0].definition.image_id == image.object_id


async def test_a_snapshot_whose_answer_is_lost_is_not_taken_twice(app: _App, world: World) -> None:
    sandbox = await _Sandbox.create(app=app)
    world.fail_next["SandboxSnapshotFilesystem"] = [ConnectionError("gone")]
    await sandbox.snapshot_filesystem()
    assert len(world.images.known) == 1
    keys = {request.idempotency_key for request in world.images.snapshots}
    assert len(keys) == 1
    await sandbox.snapshot_filesystem()
    assert len(world.images.known) == 2


async def test_a_snapshot_that_takes_too_long(app: _App, world: World) -> None:
    sandbox = await _Sandbox.create(app=app)
    world.fail_next["SandboxSnapshotFilesystem"] = [TimeoutError("55 s are over")]
    with pytest.raises(TimeoutError):
        await sandbox.snapshot_filesystem()
    for wrong in (0, -1, True):
        with pytest.raises(InvalidError, match="timeout"):
            await sandbox.snapshot_filesystem(timeout=wrong)


async def test_differences(app: _App, world: World) -> None:
    sandbox = await _Sandbox.create(app=app)
    world.images.changes = [
        image_pb2.FileChange(path=b"/a", kind="added"),
        image_pb2.FileChange(path=b"\xff", kind="removed"),
    ]
    expected = [FileChange("/a", "added"), FileChange("/\udcff", "removed")]
    assert await sandbox.diff() == expected
    world.fail_next["SandboxDiff"] = [ConnectionError("gone")]
    assert await sandbox.diff() == expected
    old, new = await sandbox.snapshot_filesystem(), await sandbox.snapshot_filesystem()
    assert await old.diff(new) == expected
    with pytest.raises(ConflictError, match="build"):
        await old.diff(_Image.debian_slim())
    with pytest.raises(NotFoundError):
        await old.diff(_Image.from_id("im-unknown"))


def test_the_blocking_face(blocking_server: FakeServer, tmp_path: Path) -> None:
    app = cove.App.lookup("app", create_if_missing=True)
    (tmp_path / "x").write_text("x")
    base = cove.Image.debian_slim("3.11").env({"A": "1"})
    image = base.add_local_file(str(tmp_path / "x"), "/x", copy=True).pip_install("y", secrets=[cove.Secret.from_dict({"T": "s"})])
    assert image.build(app) is image
    assert image.object_id is not None
    assert repr(image) == f"<cove.Image {image.object_id}>"
    assert repr(base) == "<cove.Image>"
    sandbox = cove.Sandbox.create(app=app, image=image)
    snapshot = sandbox.snapshot_filesystem()
    assert isinstance(snapshot, cove.Image)
    assert sandbox.diff() == []
    assert image.diff(snapshot) == []
    assert cove.Image.from_registry("x:1", cove.Secret.from_dict({}), add_python="3.12").object_id is None
    with pytest.raises(InvalidError, match="nonsense"):
        cove.Image.from_registry("x:1", nonsense=1)
    with pytest.raises(InvalidError, match=r"cove\.Secret"):
        base.pip_install("y", secrets=["T"])  # type: ignore[list-item]  # that is the point


async def test_the_asynchronous_face(blocking_server: FakeServer) -> None:
    app = await cove.App.lookup.aio("app", create_if_missing=True)
    image = await cove.Image.debian_slim("3.11").run_commands("x").build.aio(app)
    sandbox = await cove.Sandbox.create.aio(app=app, image=image)
    assert await sandbox.diff.aio() == []
    assert (await sandbox.snapshot_filesystem.aio()).object_id is not None


def test_wrong_credentials(blocking_server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    app = cove.App.lookup("app", create_if_missing=True)
    blocking_server.world.fail_next["ImageBuild"] = [AuthError("no")]
    with pytest.raises(AuthError):
        cove.Image.debian_slim("3.11").run_commands("x").build(app)


def test_imports_that_only_work_in_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    image = cove.Image.from_id("im-x")
    with image.imports():
        import no_such_module_here  # type: ignore[import-not-found]  # noqa: F401 - that is the point
    with pytest.raises(ZeroDivisionError), image.imports():
        raise ZeroDivisionError
    monkeypatch.setenv("COVE_IS_REMOTE", "1")
    monkeypatch.setenv("COVE_IMAGE_ID", "im-y")
    with image.imports():
        raise ImportError
    monkeypatch.setenv("COVE_IMAGE_ID", "im-x")
    with pytest.raises(ImportError), image.imports():
        raise ImportError


LOGS = [
    image_pb2.ImageBuildLog(layer=0, status="FROM debian:3.11"),
    image_pb2.ImageBuildLog(layer=1, status="RUN pip install x"),
    image_pb2.ImageBuildLog(layer=1, data=b"Collecting x\nDownloading caf"),
    image_pb2.ImageBuildLog(layer=1, data="é".encode()[:1]),
    image_pb2.ImageBuildLog(layer=1, data="é".encode()[1:] + b"\n 10%\r 99%\r\n[bold]red\x1b[31m\x1b]0;title\x07\x1b[2J\x00"),
]
SHOWN = [
    "Building image",
    "=> Step 0: FROM debian:3.11",
    "=> Step 1: RUN pip install x",
    "Collecting x",
    "Downloading café",
    " 99%",
    "[bold]red\N{REPLACEMENT CHARACTER}",
]


def test_output_is_shown_where_it_was_asked_for(blocking_server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    blocking_server.world.images.logs = LOGS
    app = cove.App.lookup("app", create_if_missing=True)
    with cove.enable_output():
        image = cove.Image.debian_slim("3.11").run_commands("x").build(app)
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == SHOWN
    assert last.startswith(f"Built image {image.object_id} in ")
    cove.Image.debian_slim("3.11").run_commands("y").build(app)
    assert capsys.readouterr().out == ""


def test_a_failed_build_shows_its_last_line_too(blocking_server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    images = blocking_server.world.images
    images.logs, images.fail_with = LOGS, InvalidError("failed")
    app = cove.App.lookup("app", create_if_missing=True)
    with cove.enable_output(), pytest.raises(InvalidError):
        cove.Image.debian_slim("3.11").run_commands("x").build(app)
    assert capsys.readouterr().out.splitlines() == SHOWN


def test_a_cached_image_shows_nothing(blocking_server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    app = cove.App.lookup("app", create_if_missing=True)
    with cove.enable_output():
        cove.Image.debian_slim("3.11").run_commands("x").build(app)
    assert capsys.readouterr().out == ""


@pytest.fixture
def enabled() -> Iterator[None]:
    with cove.enable_output(show_progress=False):
        yield


async def test_a_line_without_end_is_shown_in_parts(enabled: None, capsys: pytest.CaptureFixture[str]) -> None:
    output = BuildOutput()
    for _ in range(20):
        await output.show(image_pb2.ImageBuildLog(layer=1, data=b"x" * 1000))
    assert capsys.readouterr().out.count("x") == 2 * 8192
    await output.finish(None)
    assert capsys.readouterr().out.count("x") == 20_000 - 2 * 8192


@pytest.mark.parametrize("text", ["\x1b", "\x1b[", "\x1b]", "\x9b2J", "\x1bc", "\x1b[1;2;3m", "\u202e", "\x07", "a\x1b[31"])
def test_nothing_reaches_the_terminal_that_it_obeys(text: str) -> None:
    assert all(character.isprintable() for character in clean(f"before{text}after"))

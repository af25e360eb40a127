"""`cove.Image` as its documentation uses it, on real sandboxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import cove
from cove.exception import ConflictError, InvalidError, NotFoundError, RemoteError, ResourceExhaustedError
from tests.support.leaks import assert_holds
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove) -> Iterator[None]:
    """Sandboxes of builds end by themselves, a moment after the build."""
    yield
    assert_holds(live)


def said(sandbox: cove.Sandbox, *command: str) -> str:
    process = sandbox.exec(*command)
    output = process.stdout.read()
    assert process.wait() == 0, process.stderr.read()
    return output


def test_packages_come_from_the_machines_own_mirrors(sandboxes: Sandboxes, app: cove.App) -> None:
    """The one test here that needs a network: Debian's packages and Python's."""
    image = cove.Image.debian_slim().apt_install("hello").pip_install("six==1.17.0").env({"PORT": "6443"}).build(app)
    sandbox = sandboxes.create(image=image)
    assert said(sandbox, "hello") == "Hello, world!\n"
    assert said(sandbox, "python", "-c", "import os, six; print(six.__version__, os.environ['PORT'])") == "1.17.0 6443\n"
    assert said(sandbox, "sh", "-c", "ls /.cove; env | grep -c PIP_ || true") == "init\n0\n"


def test_local_files_directories_and_modules(sandboxes: Sandboxes, app: cove.App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    (project / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (project / "run.sh").chmod(0o755)
    (project / "sub/data.txt").write_text("data")
    (project / "noise.log").write_text("")
    (tmp_path / "e2emodule.py").write_text("VALUE = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    image = (
        cove.Image.debian_slim()
        .add_local_dir(project, "/srv/project", copy=True, ignore=["*.log"])
        .run_commands("/srv/project/run.sh > /srv/said")
        .add_local_file(project / "sub/data.txt", "/etc/data")
        .add_local_python_source("e2emodule")
    )
    sandbox = sandboxes.create(image=image)
    assert said(sandbox, "cat", "/srv/said", "/etc/data") == "ran\ndata"
    assert said(sandbox, "python", "-c", "import e2emodule; print(e2emodule.VALUE)") == "42\n"
    assert sandbox.ls("/srv/project") == ["run.sh", "sub"]


def test_what_runs_is_the_images_command(sandboxes: Sandboxes, app: cove.App) -> None:
    image = cove.Image.debian_slim().workdir("/srv").entrypoint(["/bin/echo", "-n"]).cmd(["from", "the image"])
    sandbox = sandboxes.create(image=image)
    assert sandbox.wait() is None and sandbox.stdout.read() == "from the image"
    other = sandboxes.create("from", "me", image=image)
    assert other.wait() is None and other.stdout.read() == "from me"
    third = sandboxes.create("pwd", image=image.entrypoint([]))
    assert third.wait() is None and third.stdout.read() == "/srv\n"


def test_a_dockerfile_with_stages_arguments_and_a_heredoc(sandboxes: Sandboxes, app: cove.App, tmp_path: Path) -> None:
    (tmp_path / "who").write_text("world")
    commands = [
        "ARG GREETING=hello",
        "COPY who /who",
        "RUN <<EOF\necho $GREETING $(cat /who) > /greeting\nEOF",
        "FROM base",
        "COPY --from=0 /greeting /kept/",
        "USER daemon",
    ]
    image = cove.Image.debian_slim().dockerfile_commands(*commands, context_dir=tmp_path)
    sandbox = sandboxes.create(image=image)
    assert said(sandbox, "cat", "/kept/greeting") == "hello world\n"
    assert said(sandbox, "id", "-un") == "daemon\n"


def test_secrets_are_there_for_the_step_alone(sandboxes: Sandboxes, app: cove.App) -> None:
    secret = cove.Secret.from_dict({"TOKEN": "s3cr3t-of-a-build"})
    image = cove.Image.debian_slim().run_commands("test $TOKEN = s3cr3t-of-a-build && echo ok > /ok", secrets=[secret])
    sandbox = sandboxes.create(image=image)
    assert said(sandbox, "cat", "/ok") == "ok\n"
    assert said(sandbox, "sh", "-c", "env; grep -rs s3cr3t-of-a-build /etc /root /tmp /run /ok || true").count("s3cr3t") == 0


def test_the_same_definition_is_built_once_and_by_force_again(app: cove.App, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*, force: bool = False) -> str | None:
        return cove.Image.debian_slim().run_commands("date +%N > /when", force_build=force).build(app).object_id

    first = build()
    assert build() == first
    forced = build(force=True)
    assert forced != first and build() == forced
    monkeypatch.setenv("COVE_IGNORE_CACHE", "1")
    assert build() != forced
    monkeypatch.delenv("COVE_IGNORE_CACHE")
    assert build() == forced


def test_a_snapshot_is_an_image_that_can_be_built_on(sandboxes: Sandboxes, app: cove.App) -> None:
    sandbox = sandboxes.create()
    said(sandbox, "sh", "-c", "echo one > /root/one; rm /etc/issue; echo in tmp > /tmp/file")
    snapshot = sandbox.snapshot_filesystem()
    assert {(change.kind, change.path) for change in sandbox.diff()} >= {("added", "/root/one"), ("removed", "/etc/issue")}
    assert snapshot.object_id is not None
    image = cove.Image.from_id(snapshot.object_id).run_commands("cat /root/one /tmp/file | tee /root/two")
    other = sandboxes.create(image=image)
    assert said(other, "cat", "/root/two") == "one\nin tmp\n"
    assert [(change.kind, change.path) for change in snapshot.diff(image)] == [("added", "/root/two")]
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    with pytest.raises(ConflictError):
        sandbox.snapshot_filesystem()


def test_files_of_different_layers_are_different_files(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    said(sandbox, "sh", "-c", "echo one > /root/one")
    other = sandboxes.create(image=sandbox.snapshot_filesystem())
    said(other, "sh", "-c", "echo two > /root/two")
    assert len(set(said(other, "stat", "-c", "%d %i", "/root/one", "/root/two").splitlines())) == 2


async def test_async(app: cove.App) -> None:
    image = await cove.Image.debian_slim().run_commands("echo async > /how").build.aio(app)
    sandbox = await cove.Sandbox.create.aio(app=app, image=image, block_network=True)
    process = await sandbox.exec.aio("cat", "/how")
    assert await process.stdout.read.aio() == "async\n"
    assert (await sandbox.snapshot_filesystem.aio()).object_id
    await sandbox.terminate.aio()
    await sandbox.wait.aio(raise_on_termination=False)


def test_what_cannot_be_is_said_clearly(app: cove.App) -> None:
    base = cove.Image.debian_slim()
    with pytest.raises(RemoteError, match=r"(?s)`RUN echo why.*exit code 3.*why"):
        base.run_commands("echo why; exit 3").build(app)
    with pytest.raises(ResourceExhaustedError, match=r"3\.11, 3\.13"):
        cove.Image.debian_slim("3.7").run_commands("true").build(app)
    with pytest.raises(NotFoundError, match="im-0000"):
        cove.Image.from_id("im-" + "0" * 22).run_commands("true").build(app)
    with pytest.raises(InvalidError, match="copy=True"):
        base.add_local_file("/etc/hostname", "/x").run_commands("true")
    with pytest.raises(InvalidError, match="nothere"):
        base.dockerfile_commands("COPY nothere /x").build(app)

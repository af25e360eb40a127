"""``cove image``: what scripts rely on, and what hostile names, output and files cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from cove.exception import ConflictError, InvalidError
from cove.wire import image_pb2
from tests.support.fake_server import FakeServer, World
from tests.unit.sdk.cli.conftest import Cli


@pytest.fixture
def world(server: FakeServer) -> World:
    return server.world


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "Dockerfile").write_text("ARG V\nFROM debian:12 AS build\nCOPY a /\nFROM build AS test\nCOPY b /\n")
    for name in ("a", "b", "c"):
        (root / name).write_text(name)
    return root


def test_without_a_profile_every_command_says_cove_up(run: Cli, project: Path) -> None:
    for command in (["list"], ["show", "im-x"], ["build", str(project)], ["push", "im-x", "r/x"], ["prune", "-y"], ["rm", "im-x"]):
        result = run("image", *command)
        assert result.exit_code == 1, command
        assert "cove up" in result.err, command


def test_json_has_stable_keys(run: Cli, world: World) -> None:
    info = world.images.add("build")
    info.config.env["B"] = "2"
    info.config.entrypoint.append("/x")
    expected = {
        "image_id": info.image_id,
        "source": "build",
        "description": None,
        "created_at": 1.0,
        "parent_image_id": None,
        "sandbox_id": None,
        "layers": 2,
        "size_bytes": 3 * 2**20,
        "stored": True,
        "config": {
            "env": {"B": "2"},
            "workdir": None,
            "user": None,
            "entrypoint": ["/x"],
            "cmd": [],
            "shell": [],
            "labels": {},
            "exposed_ports": [],
            "healthcheck": None,
        },
    }
    assert run("image", "list", "--json").json == [expected]
    assert run("image", "show", info.image_id, "--json").json == expected


def test_tables_are_for_people_and_obey_nobody(run: Cli, world: World) -> None:
    assert run("image", "list").err == "No images.\n"
    info = world.images.add("snapshot")
    info.description = "sb-1\x1b[2J"
    info.config.env["A"] = "1"
    result = run("image", "list")
    assert info.image_id in result.out
    assert "3.0 MiB" in result.out
    assert "\x1b" not in result.out
    shown = run("image", "show", info.image_id).out
    assert "A=1" in shown
    assert "\x1b" not in shown
    assert run("image", "show", "im-none").exit_code == 1


def test_list_goes_through_all_pages_and_no_further(run: Cli, world: World) -> None:
    for _ in range(7):
        world.images.add("build")
    assert len(run("image", "list", "--json", "--limit", "5").json) == 5
    assert len(run("image", "list", "--json", "--limit", "1000").json) == 7


def test_build_prints_the_id_and_nothing_else(run: Cli, world: World, project: Path) -> None:
    world.images.logs = [image_pb2.ImageBuildLog(layer=1, status="COPY a /"), image_pb2.ImageBuildLog(layer=1, data=b"\x1b[2Jhi\n")]
    result = run("image", "build", str(project), "--build-arg", "V=1")
    (image_id,) = world.images.known
    assert (result.exit_code, result.out) == (0, f"{image_id}\n")
    assert "=> Step 1: COPY a /" in result.err
    assert "\x1b" not in result.err
    (layer,) = world.images.builds[0].definition.layers
    assert dict(layer.build_args) == {"V": "1"}
    assert [file.path for file in layer.context] == [b"a", b"b"]
    assert "cove-image" in world.apps
    assert run("image", "build", str(project / "Dockerfile"), "--json", "--app", "other").json["image_id"] in world.images.known
    assert "other" in world.apps


def test_build_ends_with_the_target(run: Cli, world: World, project: Path) -> None:
    run("image", "build", str(project), "--target", "Build", "--force")
    (request,) = world.images.builds
    assert request.force_build
    (layer,) = request.definition.layers
    assert layer.commands[0].endswith("\nFROM build\n")
    assert [file.path for file in layer.context] == [b"a"]
    for wrong in ("nothing", "0", "build\nRUN x", ""):
        result = run("image", "build", str(project), "--target", wrong)
        assert result.exit_code == 2
        assert "build, test" in result.err


def test_build_takes_another_context(run: Cli, world: World, project: Path, tmp_path: Path) -> None:
    (project / "elsewhere").mkdir()
    (project / "elsewhere" / "Dockerfile").write_text("FROM x\nCOPY c /\n")
    run("image", "build", str(project / "elsewhere"), "--context", str(project))
    assert [file.path for file in world.images.builds[0].definition.layers[0].context] == [b"c"]


def test_what_is_wrong_with_a_build_is_said_in_a_sentence(run: Cli, world: World, project: Path) -> None:
    assert "Dockerfile" in run("image", "build", str(project / "nowhere")).err
    assert run("image", "build", str(project), "--build-arg", "V").exit_code == 2
    (project / "Dockerfile").write_text("FROM x\nVOLUME /v\n")
    assert "VOLUME" in run("image", "build", str(project)).err
    (project / "Dockerfile").write_text("FROM x\n")
    world.images.fail_with = InvalidError("Step 1 failed.")
    result = run("image", "build", str(project))
    assert (result.exit_code, result.out) == (2, "")
    assert "Step 1 failed." in result.err


def test_push_prints_the_digest(run: Cli, world: World) -> None:
    info = world.images.add("build")
    result = run("image", "push", info.image_id, "r.example/x:1", "--username", "me", "--password-stdin", stdin="s3cret\n")
    assert (result.exit_code, result.out) == (0, "sha256:" + "ab" * 32 + "\n")
    assert "layer 1 of 1" in result.err
    assert "\x1b" not in result.err
    (request,) = world.images.pushes
    secret = {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "s3cret"}
    assert request.target == image_pb2.RegistryImage(reference="r.example/x:1", secret=secret)
    assert run("image", "push", info.image_id, "r/x", "--kind", "nonsense").exit_code == 2


def test_push_takes_credentials_from_where_they_are(run: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = world.images.add("build")
    (tmp_path / "aws.env").write_text("AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY='b c'\n")
    assert run("image", "push", info.image_id, "r/x", "--secret", str(tmp_path / "aws.env"), "--kind", "ecr", "--json").exit_code == 0
    monkeypatch.setenv("REGISTRY_USERNAME", "u")
    monkeypatch.setenv("REGISTRY_PASSWORD", "p")
    run("image", "push", info.image_id, "r/y")
    first, second = world.images.pushes
    assert (first.target.kind, dict(first.target.secret)) == ("ecr", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b c"})
    assert dict(second.target.secret) == {"REGISTRY_USERNAME": "u", "REGISTRY_PASSWORD": "p"}


def test_prune_asks_first(run: Cli, world: World) -> None:
    info = world.images.add("build")
    assert run("image", "prune", stdin="n\n").exit_code == 1
    assert not world.images.prunes
    dry = run("image", "prune", "--dry-run", "--older-than", "2")
    assert dry.out == f"{info.image_id}\n"
    assert dry.err.endswith("Would remove 1 image and 3 blobs: 5.0 MiB.\n")
    assert world.images.prunes[0] == image_pb2.ImagePruneRequest(dry_run=True, older_than_s=2 * 86_400)
    assert run("image", "prune", "-y", "--json").json == {
        "image_ids": [info.image_id],
        "blobs": 3,
        "bytes": 5 * 2**20,
        "dry_run": False,
    }


def test_one_that_cannot_go_does_not_keep_the_others(run: Cli, world: World) -> None:
    first, second = world.images.add("build"), world.images.add("build")
    world.fail_next["ImageDelete"] = [ConflictError("A sandbox runs on it.")]
    result = run("image", "rm", first.image_id, "im-none", second.image_id)
    assert result.exit_code == 1
    assert "A sandbox runs on it." in result.err
    assert "im-none" in result.err
    assert list(world.images.known) == [first.image_id]
    assert run("image", "rm", first.image_id).exit_code == 0

"""What Dockerfile instructions do in a build: over a fake node that keeps files and runs a shell of a few words."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from cove.exception import Error, InvalidError, NotFoundError, RemoteError, UnimplementedError
from cove.wire import image_pb2
from router.images.builder import stage_files
from tests.integration.router.conftest import running_cluster, settings_for
from tests.integration.router.image_client import Bench, Built, bench_on, build, context_file, definition, directory, image_ids, layer, link
from tests.support.fake_tree import Thing, Tree

DEFAULTS = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """With time for calls on a busy machine: what a node does not hear in time is left to the reconciler, which sleeps here."""
    async with running_cluster(settings_for(tmp_path, node_call_timeout_s=10.0)) as cluster, bench_on(cluster) as found:
        yield found


async def built(bench: Bench, *commands: str, context: Sequence[image_pb2.ContextFile] = (), **fields: object) -> Built:
    """One layer."""
    return await build(bench.cluster.client, definition(layer(*commands, context=list(context), **fields)))


def tree(bench: Bench) -> Tree:
    """The files of the last layer."""
    return bench.work.layers.layers[bench.work.layers.taken[-1].layer_id]


def watched(bench: Bench) -> list[Tree]:
    """The files of the sandbox, as each command of a step finds them."""
    seen: list[Tree] = []
    shell = bench.work._shell

    def look(process: object, script: str) -> None:
        seen.append(dict(bench.work.layers.trees[process.sandbox_id]))  # type: ignore[attr-defined]  # a Process
        shell(process, script)  # type: ignore[arg-type]  # likewise

    bench.work._shell = look  # type: ignore[method-assign]  # on this one bench
    return seen


async def test_a_command_runs_with_what_came_before_it(bench: Bench) -> None:
    made = await built(
        bench,
        "RUN echo first",
        "ENV A=1 B=two",
        'SHELL ["/bin/sh", "-c"]',
        "WORKDIR /srv",
        "WORKDIR sub/../deep",
        "USER app:staff",
        "RUN echo second",
        'RUN ["/bin/prog", "x y"]',
    )
    first, second, third = bench.work.commands
    assert (first.env, first.workdir, first.user) == (DEFAULTS, "/", "")
    assert (second.env, second.workdir, second.user) == ({**DEFAULTS, "A": "1", "B": "two"}, "/srv/deep", "app:staff")
    assert third.argv == ["/bin/prog", "x y"]
    assert (made.image.config.workdir, made.image.config.user, list(made.image.config.shell)) == (
        "/srv/deep",
        "app:staff",
        ["/bin/sh", "-c"],
    )
    assert tree(bench)["/srv/deep"].kind == tarfile.DIRTYPE and tree(bench)["/srv/deep"].uid == 0


async def test_another_shell_is_used_from_its_line_on(bench: Bench) -> None:
    await built(bench, "RUN echo a", 'SHELL ["/bin/bash", "-ec"]', "RUN echo b")
    assert [process.argv for process in bench.work.commands] == [["/bin/sh", "-c", "echo a"], ["/bin/bash", "-ec", "echo b"]]


async def test_settings_go_on_in_the_next_layer(bench: Bench) -> None:
    client = bench.cluster.client
    made = await build(client, definition("ENV A=1", "WORKDIR /w", "USER app", "ENV B=$A$A", "RUN echo x"))
    (process,) = bench.work.commands
    assert (process.env["A"], process.env["B"], process.workdir, process.user) == ("1", "11", "/w", "app")
    assert made.image.config.env["B"] == "11"


async def test_arguments_are_seen_by_commands_and_do_not_stay(bench: Bench) -> None:
    made = await built(
        bench, "ARG A=1", "ARG B", "ARG C=$A-x", "RUN echo a", "ENV D=$B$UNSET", build_args={"B": "given", "OTHER": "no", "HTTP_PROXY": "p"}
    )
    (process,) = bench.work.commands
    assert {name: process.env.get(name) for name in ("A", "B", "C", "OTHER", "HTTP_PROXY")} == {
        "A": "1",
        "B": "given",
        "C": "1-x",
        "OTHER": None,
        "HTTP_PROXY": "p",
    }
    assert dict(made.image.config.env) == {**DEFAULTS, "D": "given"}


async def test_environment_of_a_layer_is_for_its_commands_alone(bench: Bench) -> None:
    made = await built(bench, "ENV A=image", "RUN echo a", env={"A": "step", "B": "step"})
    (process,) = bench.work.commands
    assert (process.env["A"], process.env["B"]) == ("step", "step")
    assert dict(made.image.config.env) == {**DEFAULTS, "A": "image"}


async def test_secrets_reach_commands_and_nothing_else(
    bench: Bench, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    value = "hidden-Value-42"
    made = await built(
        bench,
        "RUN echo plain",
        "RUN --mount=type=secret,id=TOKEN echo file",
        "RUN --mount=type=secret,id=TOKEN,env=AS_ENV echo env",
        "RUN --mount=type=secret,id=TOKEN,target=/root/.token,mode=0400 echo target",
        "RUN --mount=type=secret,id=MISSING echo optional",
        secrets={"TOKEN": value},
    )
    plain, file, env, target, optional = bench.work.commands
    assert plain.env["TOKEN"] == value and env.env["AS_ENV"] == value
    assert all("TOKEN" not in process.env for process in (file, env, target, optional))
    assert not any(value.encode() in thing.content for thing in tree(bench).values())
    with pytest.raises(RemoteError) as caught:
        await built(bench, "RUN complain no; exit 1", secrets={"TOKEN": value})
    with pytest.raises(InvalidError) as required:
        await built(bench, "RUN --mount=type=secret,id=OTHER,required=true echo a", secrets={"TOKEN": value})
    images = (await bench.cluster.client.call("ImageList")).images
    told = [made.image, *made.logs, *images, caught.value, required.value, caplog.text, capsys.readouterr()]
    assert not any(value in str(item) for item in told)
    for record in bench.cluster.settings.state_dir.rglob("*"):
        assert not record.is_file() or value.encode() not in record.read_bytes(), record


async def test_the_secret_is_there_while_the_command_runs_and_gone_if_it_fails(bench: Bench) -> None:
    seen = watched(bench)
    with pytest.raises(RemoteError):
        await built(bench, "RUN --mount=type=secret,id=T exit 1", secrets={"T": "v"})
    assert seen[0]["/run/secrets/T"] == Thing(content=b"v", mode=0o400)
    (sandbox_id,) = bench.work.layers.trees
    assert "/run/secrets/T" not in bench.work.layers.trees[sandbox_id]


async def test_copies_arrive_with_owner_and_mode(bench: Bench) -> None:
    files = [
        await context_file(bench.cluster, "a.txt", b"a", 0o640),
        await context_file(bench.cluster, "d/run.sh", b"run", 0o755),
        directory("d", 0o750),
        link("d/link", "../a.txt"),
    ]
    await built(
        bench,
        "COPY a.txt /plain",
        "COPY --chown=app a.txt /named",
        "COPY --chown=app:staff --chmod=600 a.txt /grouped",
        "COPY --chown=7 a.txt /number",
        "COPY --chown=1000 a.txt /known-number",
        "COPY --chown=7:8 --chmod=0000 a.txt /closed",
        "COPY --chown=root:50 d /tree/",
        "COPY --chmod=4755 d/run.sh /setuid",
        context=files,
    )
    found = {path: (thing.mode, thing.uid, thing.gid) for path, thing in tree(bench).items()}
    assert found["/plain"] == (0o640, 0, 0)
    assert found["/named"] == (0o640, 1000, 1001)
    assert found["/grouped"] == (0o600, 1000, 50)
    assert found["/number"] == (0o640, 7, 7)
    assert found["/known-number"] == (0o640, 1000, 1000)  # a number stands for both, whoever has it
    assert found["/closed"] == (0, 7, 8)
    assert (found["/tree"], found["/tree/run.sh"]) == ((0o750, 0, 50), (0o755, 0, 50))
    assert found["/setuid"] == (0o4755, 0, 0)
    assert msgspec.structs.replace(tree(bench)["/tree/link"], mtime_s=0) == Thing(tarfile.SYMTYPE, b"../a.txt", 0o777, 0, 50)
    assert tree(bench)["/plain"].content == b"a"


@pytest.mark.parametrize(
    "owner", ["nobody-here", "app:nogroup", "4294967295", "99999999999999999999", "odd", "\u00b2", "a:b:c", "-1", "app:"]
)
async def test_owners_that_the_image_does_not_have(bench: Bench, owner: str) -> None:
    with pytest.raises(InvalidError):
        await built(bench, f"COPY --chown={owner} a /a", context=[await context_file(bench.cluster, "a", b"")])


@pytest.mark.parametrize("mode", ["u+x", "8", "77777", "-1", "0x1"])
async def test_modes_that_are_no_octal_digits(bench: Bench, mode: str) -> None:
    with pytest.raises((InvalidError, UnimplementedError)):
        await built(bench, f"COPY --chmod={mode} a /a", context=[await context_file(bench.cluster, "a", b"")])


async def test_names_that_are_not_utf8_arrive_as_they_are(bench: Bench) -> None:
    file = await context_file(bench.cluster, "x", b"content")
    file.path = b"d/\xff\xfe"
    await built(bench, "COPY d /d", context=[directory("d"), file])
    assert any(path.encode("utf-8", "surrogateescape") == b"/d/\xff\xfe" for path in tree(bench))


async def test_content_that_was_not_uploaded_or_has_another_size(bench: Bench) -> None:
    there = await context_file(bench.cluster, "a", b"1234")
    missing = image_pb2.ContextFile(path=b"a", mode=there.mode, sha256=bytes(32), size_bytes=4)
    with pytest.raises(NotFoundError) as caught:
        await built(bench, "COPY a /a", context=[missing])
    assert "'a'" in caught.value.cause
    for size_bytes in (0, 3, 5, 2**63):
        there.size_bytes = size_bytes
        with pytest.raises(InvalidError):
            await built(bench, "COPY a /a", context=[there])
    assert not bench.running() and len(await image_ids(bench.cluster.client)) == 1


async def test_heredocs_are_files_and_scripts(bench: Bench) -> None:
    await built(
        bench,
        "ENV NAME=world",
        "COPY <<plain.txt <<'raw.txt' /etc/made/\nhello $NAME\nplain.txt\nhello $NAME\nraw.txt",
        "RUN <<EOF\nwrite /one 1\nwrite /two 2\nEOF",
        "RUN <<EOF\n#!/usr/bin/env python3\nprint('x')\nEOF",
    )
    found = tree(bench)
    assert found["/etc/made/plain.txt"].content == b"hello world\n" and found["/etc/made/raw.txt"].content == b"hello $NAME\n"
    assert found["/one"].content == b"1" and found["/two"].content == b"2"
    assert bench.work.commands[-1].argv == ["/.cove/step/script"]
    assert not any(path.startswith("/.cove/step") for path in found)


async def test_stages_are_built_in_sandboxes_of_their_own(bench: Bench) -> None:
    made = await built(
        bench,
        "FROM base AS builder",
        "ENV STAGE=builder",
        "WORKDIR /out",
        "RUN write /out/a 1; write /out/b 2; write /etc/only-there 3",
        "FROM base AS unused",
        "RUN exit 1",
        "FROM base",
        "COPY --from=builder /out/a /bin/a",
        "COPY --from=1 --chown=app /out /all",
        "COPY --from=builder /out/b /out/a /both/",
    )
    found = tree(bench)
    assert {path: found[path].content for path in ("/bin/a", "/all/a", "/all/b", "/both/a", "/both/b")} == {
        "/bin/a": b"1",
        "/all/a": b"1",
        "/all/b": b"2",
        "/both/a": b"1",
        "/both/b": b"2",
    }
    assert (found["/all/a"].uid, found["/bin/a"].uid) == (1000, 0) and "/etc/only-there" not in found
    assert "STAGE" not in made.image.config.env and not bench.running()


async def test_a_stage_goes_on_from_another(bench: Bench) -> None:
    made = await built(
        bench, "FROM base AS one", "ENV A=1", "CMD one", "RUN write /one 1", "FROM one", "RUN write /two $A", "ENTRYPOINT two"
    )
    assert tree(bench).keys() >= {"/one", "/two"} and bench.work.commands[-1].env["A"] == "1"
    assert list(made.image.config.entrypoint) == ["/bin/sh", "-c", "two"]


async def test_hard_links_of_a_stage_arrive_as_files(bench: Bench) -> None:
    """The guest writes the second name of a file as a link to the first, without its content."""
    shared = Thing(content=b"same", mode=0o755)
    shell = bench.work._shell

    def linking(process: object, script: str) -> None:
        found = bench.work.layers.trees[process.sandbox_id]  # type: ignore[attr-defined]  # a Process
        found |= {"/out": Thing(tarfile.DIRTYPE, mode=0o755), "/out/git": shared, "/out/git-add": shared}
        shell(process, script)  # type: ignore[arg-type]  # likewise

    bench.work._shell = linking  # type: ignore[method-assign]  # on this one bench
    await built(
        bench, "FROM base AS one", "RUN link", "FROM base", "COPY --from=one /out /bin/", "COPY --from=one /out/git-add /bin/single"
    )
    found = tree(bench)
    for path in ("/bin/git", "/bin/git-add", "/bin/single"):
        assert (found[path].content, found[path].mode) == (b"same", 0o755), path


async def test_a_source_that_a_stage_does_not_have(bench: Bench) -> None:
    with pytest.raises(Error) as caught:
        await built(bench, "FROM base AS one", "RUN echo a", "FROM base", "COPY --from=one /missing /x")
    assert caught.value.code not in ("internal",) and not bench.running()


async def test_a_stage_that_is_too_large_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_files, "MAX_FETCHED_BYTES", 5000)
    with pytest.raises(Error) as caught:
        await built(bench, "FROM base AS one", f"RUN write /big {'x' * 9000}", "FROM base", "COPY --from=one /big /x")
    assert caught.value.code == "too_large"


def archive_of(files: dict[str, bytes], mode: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:  # type: ignore[call-overload]  # one of its modes
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
async def test_archives_are_unpacked_by_content_and_only_by_add(bench: Bench, mode: str) -> None:
    files = [
        await context_file(bench.cluster, "a.bin", archive_of({"in/x": b"1"}, mode)),
        await context_file(bench.cluster, "fake.tar.gz", b"no archive"),
    ]
    await built(
        bench,
        "ADD a.bin /unpacked/",
        "ADD fake.tar.gz /plain/",
        "COPY a.bin /copied/",
        "ADD --unpack=false a.bin /kept/",
        context=files,
    )
    found = tree(bench)
    assert found["/unpacked/in/x"].content == b"1" and "/unpacked/a.bin" not in found
    assert found["/plain/fake.tar.gz"].content == b"no archive"
    assert "/copied/a.bin" in found and "/kept/a.bin" in found
    assert not any(path.startswith("/.cove/step") for path in found)


async def test_patterns_of_plain_files_are_added(bench: Bench) -> None:
    await built(bench, "ADD *.txt /x/", context=[await context_file(bench.cluster, name, b"1") for name in ("a.txt", "b.txt", "c.md")])
    assert {path for path in tree(bench) if path.startswith("/x/")} == {"/x/a.txt", "/x/b.txt"}


async def test_errors_name_the_line(bench: Bench) -> None:
    with pytest.raises(InvalidError) as caught:
        await built(bench, "RUN echo a", "COPY missing /x")
    assert caught.value.context["line"] == "2"

"""What ADD unpacks and fetches, what mounts show, wildcards and empty images: over a fake node that keeps files."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard

from cove.exception import DataLossError, Error, InvalidError, RemoteError, UnimplementedError
from tests.integration.router.conftest import running_cluster, settings_for
from tests.integration.router.image_client import Bench, bench_on, context_file, directory, image_ids, link
from tests.integration.router.test_image_steps import built, tree, watched
from tests.support import fake_workbench
from tests.support.fake_tree import Thing

URL = "https://files.example/dir/tool.bin?x=1"
REPOSITORY = "https://git.example/team/project.git"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_cluster(settings_for(tmp_path, node_call_timeout_s=10.0)) as cluster, bench_on(cluster) as found:
        yield found


# --- archives ----------------------------------------------------------------------------------------------------------------------------


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uid, info.gid, info.mtime = len(content), 0o640, 5, 6, 1_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode, format=form) as opened:  # type: ignore[call-overload]  # one of its modes
        for info, content in members:
            opened.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return target.getvalue()


async def test_archives_keep_owners_modes_and_times_unless_told_otherwise(bench: Bench) -> None:
    content = archive(
        member("d", type=tarfile.DIRTYPE, mode=0o750), member("d/f", b"1"), member("l", type=tarfile.SYMTYPE, linkname="/d/f")
    )
    files = [await context_file(bench.cluster, "a.tar", content)]
    await built(bench, "ADD a.tar /as/", "ADD --chown=app:staff --chmod=0604 a.tar /changed", context=files)
    found = tree(bench)
    assert found["/as/d"] == Thing(tarfile.DIRTYPE, b"", 0o750, 5, 6, 1_000_000)
    assert found["/as/d/f"] == Thing(tarfile.REGTYPE, b"1", 0o640, 5, 6, 1_000_000)
    assert (found["/as/l"].kind, found["/as/l"].content) == (tarfile.SYMTYPE, b"/d/f")
    assert found["/changed/d/f"] == Thing(tarfile.REGTYPE, b"1", 0o604, 1000, 50, 1_000_000)
    assert found["/changed/d"].mode == 0o604


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
async def test_hard_links_of_archives_stay_links(bench: Bench, form: int) -> None:
    content = archive(member("./bin/one", b"1"), member("bin/two", type=tarfile.LNKTYPE, linkname="bin/one"), form=form)
    await built(bench, "ADD a.tar /opt", "ADD a.tar /", context=[await context_file(bench.cluster, "a.tar", content)])
    found = tree(bench)
    assert (found["/opt/bin/two"].kind, found["/opt/bin/two"].content) == (tarfile.LNKTYPE, b"opt/bin/one")
    assert found["/bin/two"].content == b"bin/one"


async def test_several_archives_patterns_and_plain_files_in_one(bench: Bench) -> None:
    files = [
        await context_file(bench.cluster, "a.tar.gz", archive(member("a", b"1"), mode="w:gz")),
        await context_file(bench.cluster, "b.tar", archive(member("b", b"2"))),
        await context_file(bench.cluster, "c.tar.zst", zstandard.compress(archive(member("c", b"3")))),
        await context_file(bench.cluster, "plain.tar", b"no archive"),
        await context_file(bench.cluster, "notes.gz", zstandard.compress(b"text")),
    ]
    await built(bench, "ADD *.tar *.zst a.tar.gz notes.gz <<word /x/\nword", context=files)
    found = {path: thing.content for path, thing in tree(bench).items() if path.startswith("/x/")}
    assert found.keys() == {"/x/a", "/x/b", "/x/c", "/x/plain.tar", "/x/notes.gz", "/x/word"}
    assert (found["/x/c"], found["/x/plain.tar"]) == (b"3", b"no archive")


async def test_several_sources_need_a_directory(bench: Bench) -> None:
    files = [await context_file(bench.cluster, name, archive(member("a", b"1"))) for name in ("a.tar", "b.tar")]
    with pytest.raises(InvalidError, match="need a directory"):
        await built(bench, "ADD *.tar /x", context=files)
    await built(bench, "ADD *.tar /tmp", context=files)
    assert "/tmp/a" in tree(bench)


@pytest.mark.parametrize("name", ["../up", "/absolute", "a/../../up", "./x/.//up"])
async def test_names_that_lead_out_stay_below_the_destination(bench: Bench, name: str) -> None:
    content = archive(member(name, b"1"), member("two", type=tarfile.LNKTYPE, linkname=f"../../{name}"))
    await built(bench, "ADD a.tar /x/", context=[await context_file(bench.cluster, "a.tar", content)])
    made = {path for path, thing in tree(bench).items() if thing.content == b"1"}
    assert made and all(path.startswith("/x/") for path in made)
    assert tree(bench)["/x/two"].content.startswith(b"x/")


async def test_devices_are_left_out(bench: Bench) -> None:
    content = archive(member("null", type=tarfile.CHRTYPE), member("pipe", type=tarfile.FIFOTYPE), member("file", b"1"))
    await built(bench, "ADD a.tar /x/", context=[await context_file(bench.cluster, "a.tar", content)])
    assert {path for path in tree(bench) if path.startswith("/x/")} == {"/x/file"}


async def test_sparse_files_are_whole(bench: Bench) -> None:
    sparse = member("holes", b"headXtail", type=tarfile.GNUTYPE_SPARSE)
    header = bytearray(sparse[0].tobuf(tarfile.GNU_FORMAT))
    header[386 : 386 + 48] = b"%011o\0%011o\0" % (0, 4) + b"%011o\0%011o\0" % (1000, 5)
    header[483:495] = b"%011o\0" % 1005
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content = bytes(header) + sparse[1].ljust(512, b"\0") + bytes(1024)
    await built(bench, "ADD a.tar /x/", context=[await context_file(bench.cluster, "a.tar", content)])
    assert tree(bench)["/x/holes"].content == b"head" + bytes(996) + b"Xtail"


@pytest.mark.parametrize("keep", [600, 1000, -1100])
async def test_damaged_archives_are_refused(bench: Bench, keep: int) -> None:
    content = archive(member("a", b"1" * 3000), mode="w")[: keep if keep > 0 else None]
    damaged = content if keep > 0 else archive(member("a", b"1" * 3000))[:512] + b"\xff" * 4096
    with pytest.raises(InvalidError):
        await built(bench, "ADD a.tar /x/", context=[await context_file(bench.cluster, "a.tar", damaged)])
    assert not bench.running()


# --- what is fetched ---------------------------------------------------------------------------------------------------------------------


async def test_files_from_urls(bench: Bench) -> None:
    bench.work.urls[URL] = Thing(content=b"tool", mtime_s=1_234_567)
    checksum = hashlib.sha256(b"tool").hexdigest()
    await built(bench, f"ADD --checksum=sha256:{checksum} {URL} /bin/", f"ADD --chown=app --chmod=755 {URL} /bin/tool", f"ADD {URL} /tmp")
    found = tree(bench)
    assert found["/bin/tool.bin"] == Thing(content=b"tool", mode=0o600, mtime_s=1_234_567)
    assert found["/bin/tool"] == Thing(content=b"tool", mode=0o755, uid=1000, gid=1001, mtime_s=1_234_567)
    assert found["/tmp"].content == b"tool"  # without a slash it is the file's name
    assert not bench.running() and not any(path.startswith("/fetched") for path in found)


async def test_one_sandbox_fetches_for_all_of_a_layer_and_is_no_part_of_it(bench: Bench) -> None:
    bench.work.urls[URL] = Thing(content=b"tool")
    await built(bench, f"ADD {URL} /a", f"ADD {URL} /b")
    fetching = {process.sandbox_id for process in bench.work.processes.values() if process.fetches}
    assert len(fetching) == 1 and bench.work.layers.taken[-1].sandbox_id not in fetching


async def test_archives_from_urls_are_unpacked_only_when_asked(bench: Bench) -> None:
    bench.work.urls["http://x.example/a.tgz"] = Thing(content=archive(member("a", b"1"), mode="w:gz"))
    await built(bench, "ADD http://x.example/a.tgz /kept/", "ADD --unpack=true http://x.example/a.tgz /unpacked/")
    found = tree(bench)
    assert "/kept/a.tgz" in found and found["/unpacked/a"].content == b"1" and "/unpacked/a.tgz" not in found


async def test_a_wrong_checksum_fails_the_build(bench: Bench) -> None:
    bench.work.urls[URL] = Thing(content=b"other")
    with pytest.raises(DataLossError, match=hashlib.sha256(b"other").hexdigest()):
        await built(bench, f"ADD --checksum=sha256:{'0' * 64} {URL} /x")
    assert len(await image_ids(bench.cluster.client)) == 1 and not bench.running()


async def test_what_cannot_be_fetched_says_why(bench: Bench) -> None:
    with pytest.raises(RemoteError, match="404"):
        await built(bench, "ADD https://files.example/missing /x")


async def test_a_name_is_needed_for_a_directory(bench: Bench) -> None:
    bench.work.urls["https://files.example/"] = Thing(content=b"1")
    with pytest.raises(InvalidError):
        await built(bench, "ADD https://files.example/ /x/")


async def test_repositories(bench: Bench) -> None:
    files = {"README": b"read", "src/main.py": b"main", ".git/HEAD": b"ref"}
    bench.work.repositories |= {REPOSITORY: files, f"{REPOSITORY}#v1.2": files}
    await built(
        bench,
        f"ADD {REPOSITORY} /all",
        f"ADD --chown=app {REPOSITORY}#v1.2:src /src",
        f"ADD --keep-git-dir=true {REPOSITORY} /kept/",
    )
    found = tree(bench)
    assert {path for path in found if path.startswith("/all")} == {"/all", "/all/README", "/all/src", "/all/src/main.py"}
    assert (found["/src/main.py"].content, found["/src/main.py"].uid) == (b"main", 1000)
    assert "/kept/.git/HEAD" in found and not bench.running()


async def test_a_token_for_repositories_goes_to_its_server_alone(bench: Bench) -> None:
    bench.work.repositories[REPOSITORY] = {"a": b"1"}
    await built(bench, f"ADD {REPOSITORY} /x", secrets={"GIT_AUTH_TOKEN": "t0ken"})
    (clone,) = [process for process in bench.work.processes.values() if process.argv[3:4] == ["clone"]]
    assert clone.env["GIT_CONFIG_KEY_0"] == "http.https://git.example/.extraheader"
    assert clone.env["GIT_CONFIG_VALUE_0"].endswith(base64.b64encode(b"x-access-token:t0ken").decode())
    assert not any("t0ken" in word for word in clone.argv)


async def test_a_repository_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(RemoteError, match="128"):
        await built(bench, f"ADD {REPOSITORY} /x")


# --- mounts ------------------------------------------------------------------------------------------------------------------------------


async def test_bind_mounts_show_the_context_and_leave_nothing(bench: Bench) -> None:
    seen = watched(bench)
    files = [
        await context_file(bench.cluster, "req.txt", b"req"),
        directory("src"),
        await context_file(bench.cluster, "src/a.py", b"a", 0o755),
    ]
    await built(
        bench,
        "WORKDIR /work",
        "RUN --mount=type=bind,source=req.txt,target=req.txt --mount=type=bind,source=src,target=/deep/er/src echo x",
        "RUN --mount=type=bind,target=. write /work/new 1",
        context=files,
    )
    first, second = seen
    assert first["/work/req.txt"].content == b"req" and first["/deep/er/src/a.py"] == Thing(
        content=b"a", mode=0o755, mtime_s=first["/deep/er/src/a.py"].mtime_s
    )
    assert second["/work/src/a.py"].content == b"a"
    left = {path for path in tree(bench) if path.startswith(("/work", "/deep"))}
    assert left == {"/work"}  # also what the command wrote there


async def test_bind_mounts_show_stages_and_go_when_the_command_fails(bench: Bench) -> None:
    seen = watched(bench)
    with pytest.raises(RemoteError):
        await built(
            bench,
            "FROM base AS made",
            "RUN write /out/wheel 1",
            "FROM base",
            "RUN --mount=type=bind,from=made,source=/out,target=/wheels exit 1",
        )
    assert seen[1]["/wheels/wheel"].content == b"1"
    assert not any("/wheels" in found for found in bench.work.layers.trees.values())


async def test_links_to_nothing_go_with_the_mount(bench: Bench) -> None:
    files = [directory("d"), link("d/dangling", "nowhere"), link("d/loop", "loop")]
    await built(
        bench,
        "WORKDIR /work",
        "RUN --mount=type=bind,source=d,target=. --mount=type=bind,source=d,target=/new/place echo x",
        context=files,
    )
    assert {path for path in tree(bench) if path.startswith(("/work", "/new"))} == {"/work"}


async def test_bind_mounts_over_the_image_s_files_are_refused(bench: Bench) -> None:
    files = [await context_file(bench.cluster, "a", b"1")]
    for target in ("/etc", "/etc/passwd"):
        with pytest.raises(UnimplementedError, match=target):
            await built(bench, f"RUN --mount=type=bind,target={target} echo x", context=files)
    with pytest.raises(Error):
        await built(bench, "RUN --mount=type=bind,source=missing,target=/x echo x", context=files)
    assert not bench.running()


async def test_caches_and_temporary_directories_stay_out_of_the_image(bench: Bench) -> None:
    await built(
        bench,
        "RUN --mount=type=cache,target=/root/.cache/pip write /root/.cache/pip/x 1",
        "RUN --mount=type=tmpfs,target=/tmp write /tmp/x 1",
    )
    assert not any(path.startswith(("/root", "/tmp/")) for path in tree(bench)) and "/tmp" in tree(bench)


# --- wildcards, and images without files -------------------------------------------------------------------------------------------------


async def test_wildcards_in_what_is_taken_from_stages(bench: Bench) -> None:
    await built(
        bench,
        "FROM base AS made",
        "RUN write /out/a/x.whl 1; write /out/b/y.whl 2; write /out/b/z.txt 3; write /out/[1].txt 4",
        "FROM base",
        "COPY --from=made /out/*/*.whl /wheels/",
        "COPY --from=made /out/[ab] /both/",
        "COPY --from=made /o?t/[[]1].txt /literal",
    )
    found = {path: thing.content for path, thing in tree(bench).items() if thing.kind == tarfile.REGTYPE}
    assert (found["/wheels/x.whl"], found["/wheels/y.whl"], found["/literal"]) == (b"1", b"2", b"4")
    assert "/wheels/z.txt" not in found and {"/both/x.whl", "/both/z.txt"} <= found.keys()


async def test_wildcards_that_match_nothing(bench: Bench) -> None:
    for source in ("/out/*.whl", "/missing/*", "/out/*/deeper"):
        with pytest.raises(InvalidError, match="matches"):
            await built(bench, "FROM base AS made", "RUN write /out/a 1", "FROM base", f"COPY --from=made {source} /x/")


def damaged_archives() -> dict[str, bytes]:
    """What a guest could send in the place of an archive of a file."""
    good = archive(member("f", b"1"))
    huge = tarfile.TarInfo("f")
    huge.size, huge.type = 1 << 30, tarfile.XHDTYPE
    return {
        "noise": b"\xff" * 2048,
        "cut": good[:600],
        "header without end": huge.tobuf(tarfile.USTAR_FORMAT) + b"9" * 4096,
        "way out": archive(member("../../f", b"1")),
    }


@pytest.mark.parametrize("name", damaged_archives())
async def test_a_guest_that_sends_rubbish_fails_the_build_alone(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_workbench, "pack", lambda tree, path: damaged_archives()[name])
    with pytest.raises(Error) as caught:
        await built(bench, "FROM base AS made", "RUN write /out/f 1", "FROM base", "COPY --from=made /out /x")
    assert caught.value.code in ("internal_failure", "too_large", "invalid"), caught.value.code
    assert not bench.running()


async def test_scratch_is_an_image_without_layers(bench: Bench) -> None:
    made = await built(
        bench, "FROM base AS made", "RUN write /out/prog 1", "FROM scratch", "COPY --from=made /out/prog /prog", 'CMD ["/prog"]'
    )
    assert made.image.layers == 1 and "/prog" in tree(bench)
    assert list(made.image.config.cmd) == ["/prog"]

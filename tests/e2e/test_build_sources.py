"""Where the files of a build come from: archives, other servers, stages, mounts; and images without any. On real sandboxes."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import cove
from cove.exception import DataLossError, RemoteError
from tests.support.leaks import assert_holds
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes
from tests.support.outside import BASE_TIME_S, HOST, Outside, outside

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert_holds(live)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("elsewhere")) as running:
        yield running


def shell(sandboxes: Sandboxes, image: cove.Image, script: str) -> str:
    process = sandboxes.create(image=image).exec("sh", "-c", script)
    output = process.stdout.read()
    assert process.wait() == 0, process.stderr.read()
    return output


def built(*commands: str) -> cove.Image:
    return cove.Image.debian_slim("3.11").dockerfile_commands(list(commands))


def archive(mode: str = "w:xz") -> bytes:
    """With an owner, a hard link, a symbolic link and a time."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as opened:  # type: ignore[call-overload]  # one of its modes
        for name, kind, link in (("bin", tarfile.DIRTYPE, ""), ("bin/one", tarfile.REGTYPE, ""), ("bin/two", tarfile.LNKTYPE, "bin/one")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.uid, info.gid, info.mtime = kind, link, 5, 6, BASE_TIME_S
            info.mode, info.size = (0o755, 0) if kind == tarfile.DIRTYPE else (0o640, 3 if kind == tarfile.REGTYPE else 0)
            opened.addfile(info, io.BytesIO(b"one") if kind == tarfile.REGTYPE else None)
    return target.getvalue()


def test_archives_patterns_and_owners(sandboxes: Sandboxes, tmp_path: Path) -> None:
    (tmp_path / "a.tar.xz").write_bytes(archive())
    (tmp_path / "b.tgz").write_bytes(archive("w:gz"))
    (tmp_path / "plain.txt").write_text("plain")
    image = built("RUN useradd -u 1234 somebody", "ADD a.tar.xz plain.txt /as/", "ADD --chown=somebody --chmod=0600 *.tgz /changed/")
    said = shell(sandboxes, image, "cd /; stat -c '%n %a %u:%g %h %Y' as/bin/one as/bin/two changed/bin/one; cat as/bin/two as/plain.txt")
    assert said == (
        f"as/bin/one 640 5:6 2 {BASE_TIME_S}\nas/bin/two 640 5:6 2 {BASE_TIME_S}\nchanged/bin/one 600 1234:1234 2 {BASE_TIME_S}\noneplain"
    )


def test_files_from_urls(sandboxes: Sandboxes, elsewhere: Outside) -> None:
    elsewhere.files |= {"/dir/tool.bin": b"tool", "/a.tar": archive("w")}
    checksum = hashlib.sha256(b"tool").hexdigest()
    url = elsewhere.url
    image = built(
        f"ADD --checksum=sha256:{checksum} {url}/dir/tool.bin /opt/",
        f"ADD --chmod=755 --chown=7:8 {url}/dir/tool.bin?x=1 /opt/named",
        f"ADD {url}/a.tar /kept/",
        f"ADD --unpack=true {url}/a.tar /unpacked/",
    )
    script = "cd /; stat -c '%n %a %u:%g %Y' opt/tool.bin opt/named kept/a.tar unpacked/bin/one; cat opt/tool.bin; ls /fetched 2>&1 || true"
    assert shell(sandboxes, image, script).startswith(
        f"opt/tool.bin 600 0:0 {BASE_TIME_S}\nopt/named 755 7:8 {BASE_TIME_S}\nkept/a.tar 600 0:0 {BASE_TIME_S}\n"
        f"unpacked/bin/one 640 5:6 {BASE_TIME_S}\ntoolls: "
    )


def test_what_cannot_be_fetched(app: cove.App, elsewhere: Outside, live: LiveCove) -> None:
    elsewhere.files["/other"] = b"other"
    with pytest.raises(DataLossError, match="checksum"):
        built(f"ADD --checksum=sha256:{'0' * 64} {elsewhere.url}/other /x").build(app)
    with pytest.raises(RemoteError, match="404"):
        built(f"ADD {elsewhere.url}/missing /x").build(app)
    # What the router could reach, and no sandbox may: this very machine.
    with pytest.raises(RemoteError, match=r"refused|unreachable|timed out"):
        built(f"ADD http://127.0.0.1:{live.router_http_port}/healthz /x").build(app)
    with pytest.raises(RemoteError, match=r"refused|unreachable|timed out"):
        built(f"ADD http://{HOST}/ /x").build(app)


@pytest.fixture(scope="module")
def repository(elsewhere: Outside, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its address. It has a tag ``v1`` and one commit more."""
    work = tmp_path_factory.mktemp("work")

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.com", "-c", "init.defaultBranch=main")
        subprocess.run(["git", *identity, *arguments], cwd=work, check=True, capture_output=True)

    git("init")
    (work / "src").mkdir()
    (work / "src/main.py").write_text("print('first')\n")
    (work / "run.sh").write_text("#!/bin/sh\n")
    (work / "run.sh").chmod(0o755)
    git("add", ".")
    git("commit", "-m", "one")
    git("tag", "v1")
    (work / "src/main.py").write_text("print('second')\n")
    git("commit", "-a", "-m", "two")
    git("clone", "--bare", ".", str(elsewhere.repositories / "project.git"))
    return f"{elsewhere.url}/git/project.git"


def test_repositories(sandboxes: Sandboxes, app: cove.App, repository: str, elsewhere: Outside) -> None:
    """git is not in the image, and gets into none."""
    image = built(f"ADD {repository} /all/", f"ADD --chown=7 {repository}#v1:src /src", f"ADD --keep-git-dir=true {repository}#main /kept")
    script = "ls -A /all; stat -c '%a %u' /all/run.sh /src/main.py; python /all/src/main.py; python /src/main.py"
    script += "; ls -d /kept/.git; which git || true"
    assert shell(sandboxes, image, script) == "run.sh\nsrc\n755 0\n644 7\nsecond\nfirst\n/kept/.git\n"
    commit = subprocess.run(
        ["git", "rev-parse", "v1"], cwd=elsewhere.repositories / "project.git", check=True, capture_output=True, text=True
    ).stdout.strip()
    assert shell(sandboxes, built(f"ADD --checksum={commit} {repository}#{commit} /x"), "python /x/src/main.py") == "first\n"
    with pytest.raises(RemoteError, match="not " + commit):
        built(f"ADD --checksum={commit} {repository} /x").build(app)


def test_bind_mounts_show_and_leave_nothing(sandboxes: Sandboxes, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.py").write_text("print(1)")
    image = built(
        "FROM base AS made",
        "RUN mkdir /out && echo wheel > /out/wheel",
        "FROM base",
        "WORKDIR /work",
        "RUN --mount=type=bind,source=requirements.txt,target=requirements.txt cat requirements.txt > /one",
        "RUN --mount=type=bind,target=. --mount=type=bind,from=made,source=/out,target=/wheels ls . /wheels > /two; touch /work/new",
        "RUN --mount=type=cache,target=/root/.cache/deep touch /root/.cache/deep/file",
    )
    said = shell(sandboxes, image, "cat /one; echo; cat /two; ls -A /work; ls -d /wheels /root/.cache /out 2>&1 | grep -c 'No such'")
    assert said == "six\n.:\nrequirements.txt\nsrc\n\n/wheels:\nwheel\n3\n"


def test_wildcards_from_stages(sandboxes: Sandboxes) -> None:
    image = built(
        "FROM base AS made",
        "RUN mkdir -p /out/a /out/b && touch -d @1000000 /out/a/x.whl /out/b/y.whl /out/b/z.txt",
        "FROM base",
        "COPY --from=made /out/*/*.whl /wheels/",
        "COPY --from=made /out /whole",
    )
    assert shell(sandboxes, image, "ls /wheels; stat -c %Y /whole/b/z.txt") == "x.whl\ny.whl\n1000000\n"


def test_scratch_holds_what_is_copied_and_nothing_else(sandboxes: Sandboxes, app: cove.App) -> None:
    """A static program, as images from nothing have it: busybox's, which Debian brings."""
    image = cove.Image.debian_slim("3.11").dockerfile_commands(
        "RUN apt-get update -qq && apt-get install -y -qq busybox-static",
        "FROM scratch",
        "COPY --from=0 /bin/busybox /bin/sh",
        'ENTRYPOINT ["/bin/sh", "-c"]',
    )
    sandbox = sandboxes.create("echo *; ls -A /bin", image=image)
    assert sandbox.wait() is None
    listed = sandbox.stdout.read().split("\n")
    assert listed[1:] == ["sh", ""] and {"usr", "home", "lib"}.isdisjoint(listed[0].split())

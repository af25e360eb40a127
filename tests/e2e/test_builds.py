"""Image builds in real sandboxes: what a step sees, what it leaves in the image, and that nothing else is left of it."""

from __future__ import annotations

import io
import stat
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from cove.exception import Error, RemoteError
from cove.wire import common_pb2, control_pb2, image_pb2
from tests.support.leaks import assert_holds, holdings
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import own_cove
from tests.support.raw_client import BUILD_S, RawClient, RawSandbox
from tests.support.registry_server import registry_server

SECRET = "s3cret-of-the-build"
SETTINGS = (
    "for path in /.cove/build /etc/apt/apt.conf.d/90cove-build; do [ -e $path ] && echo there: $path; done;"
    " env | grep -E '^(PIP|UV|NPM|SSL|http|HTTP|https|HTTPS)' | sort; true"
)
"""Tells what of the machine's package settings is to be seen."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCove]:
    """An instance of this module's own, whose router it may kill."""
    with own_cove(tmp_path_factory.mktemp("cove"), COVE_ROUTER_BUILD_TIMEOUT_S="60", COVE_ROUTER_LOOPBACK_REGISTRIES="true") as instance:
        yield instance


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove, client: RawClient) -> Iterator[None]:
    """Builds end their sandboxes, and tests theirs. In the place of the general check: daemons come and go here."""
    yield
    assert_holds(live)


class Looked:
    """Sandboxes of built images, one at a time."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._made: list[RawSandbox] = []

    def into(self, image: image_pb2.ImageInfo) -> RawSandbox:
        self._made.append(self._client.ready_from(image))
        return self._made[-1]

    def end(self) -> None:
        for sandbox in self._made:
            sandbox.terminate()
        for sandbox in self._made:
            sandbox.ended()


@pytest.fixture
def look(client: RawClient) -> Iterator[Looked]:
    looked = Looked(client)
    yield looked
    looked.end()


class Definitions:
    """Makes definitions on Debian, their files uploaded."""

    def __init__(self, client: RawClient) -> None:
        self._client = client

    def file(self, path: str, content: bytes, mode: int = 0o644) -> image_pb2.ContextFile:
        digest = self._client.upload(content)
        return image_pb2.ContextFile(path=path.encode(), mode=stat.S_IFREG | mode, sha256=digest, size_bytes=len(content))

    def of(self, *commands: str, files: dict[str, bytes] | None = None, secrets: dict[str, str] | None = None) -> image_pb2.ImageDefinition:
        """One layer; file names that end in ``.sh`` are programs."""
        named = files or {}
        context = [self.file(path, content, 0o755 if path.endswith(".sh") else 0o644) for path, content in named.items()]
        directories = {str(directory) for path in named for directory in PurePosixPath(path).parents} - {"."}
        context += [image_pb2.ContextFile(path=path.encode(), mode=stat.S_IFDIR | 0o755) for path in sorted(directories)]
        layer = image_pb2.ImageLayer(commands=commands, context=context, secrets=secrets or {})
        return image_pb2.ImageDefinition(debian="3.11", layers=[layer])


@pytest.fixture
def define(client: RawClient) -> Definitions:
    return Definitions(client)


def wheel() -> bytes:
    """A package ``tiny`` with a program, as a file that pip installs."""
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": "def main():\n    print('tiny says hello')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return written.getvalue()


# --- what steps see and leave ------------------------------------------------------------------------------------------------------------


def test_pip_installs_from_the_context(client: RawClient, define: Definitions, look: Looked) -> None:
    name = "tiny-1.0-py3-none-any.whl"
    definition = define.of(f"COPY {name} /wheels/", f"RUN python -m pip install --no-index /wheels/{name}", files={name: wheel()})
    image, log = client.build(definition)
    assert b"Successfully installed tiny-1.0" in log
    assert look.into(image).shell("tiny; python -c 'import tiny; tiny.main()'") == b"tiny says hello\n" * 2
    again, log = client.build(definition)
    assert (again.image_id, log) == (image.image_id, b"")


def test_package_settings_are_there_for_steps_and_not_in_the_image(client: RawClient, define: Definitions, look: Looked) -> None:
    image, log = client.build(define.of(f"RUN {SETTINGS}", "RUN apt-config dump > /tmp/apt; pip config list > /tmp/pip"))
    assert b"there: /.cove/build\n" in log
    assert b"there: /etc/apt/apt.conf.d/90cove-build\n" in log
    assert b"PIP_CONFIG_FILE=/.cove/build/pip.conf\n" in log
    assert look.into(image).shell(SETTINGS) == b""
    assert set(added(client, define, image)) == {b"tmp/apt", b"tmp/pip"}


@pytest.mark.parametrize("command", ["chmod -R a+rX /etc /.cove", "chown -R 0:0 /etc/apt /.cove", "find /etc /.cove -exec touch {} +"])
def test_steps_that_touch_the_settings_do_not_take_them_along(client: RawClient, define: Definitions, look: Looked, command: str) -> None:
    """A file that is touched is copied into the layer, settings of this machine with addresses among them."""
    image, _ = client.build(define.of(f"RUN {command}"))
    sandbox = look.into(image)
    assert sandbox.shell(SETTINGS) == b""
    names = {path for path, kind in added(client, define, image).items() if kind == "added"}
    assert not {name for name in names if name.startswith((b".cove", b"etc/apt/apt.conf.d/90cove"))}
    assert b"etc/hostname" not in names
    assert sandbox.shell("cat /etc/hostname").decode().strip() == sandbox.sandbox_id.lower()


def added(client: RawClient, define: Definitions, image: image_pb2.ImageInfo) -> dict[bytes, str]:
    """What an image has and its base has not."""
    base, _ = client.build(image_pb2.ImageDefinition(debian="3.11"))
    return client.image_diff(base, image)


def test_secrets_are_for_commands_alone(client: RawClient, define: Definitions, look: Looked, live: LiveCove) -> None:
    definition = define.of("RUN echo ${#TOKEN} > /length", "ENV KEPT=yes", secrets={"TOKEN": SECRET})
    image, log = client.build(definition)
    sandbox = look.into(image)
    assert sandbox.shell("cat /length; echo $KEPT${TOKEN}") == f"{len(SECRET)}\nyes\n".encode()
    assert SECRET.encode() not in log
    exposed = [path for path in (live.directory / "state" / "pool" / "layers").rglob("*") if path.is_file() and not path.is_symlink()]
    assert exposed
    assert not [path for path in exposed if SECRET.encode() in path.read_bytes()]
    for name in ("router", "sandboxd"):
        assert SECRET not in live.log(name).read_text()
    assert not [path for path in (live.directory / "state").glob("*/*") if path.is_file() and SECRET.encode() in path.read_bytes()]


# --- COPY, ADD, USER, WORKDIR, stages ----------------------------------------------------------------------------------------------------


def test_copies_have_owners_modes_and_go_where_links_lead(client: RawClient, define: Definitions, look: Looked) -> None:
    archive = tarred({"in/side": b"unpacked"})
    image, _ = client.build(
        define.of(
            "RUN useradd -u 1234 -m somebody && groupadd -g 4321 some && mkdir /real && ln -s /real /link",
            "COPY run.sh /bin/run",
            "COPY --chown=somebody:some --chmod=0640 plain /owned/plain",
            "COPY plain /link/through",
            "COPY --chown=77 tree /tree",
            "ADD files.tar /unpacked/",
            "ADD plain /added",
            "COPY <<EOF /heredoc\nline\nEOF",
            "WORKDIR /work/deep",
            "COPY plain here",
            files={"run.sh": b"#!/bin/sh\necho ran\n", "plain": b"plain", "tree/a/b": b"b", "tree/c": b"c", "files.tar": archive},
        )
    )
    sandbox = look.into(image)
    stats = "stat -c '%n %a %u:%g' /usr/bin/run /owned/plain /real/through /tree /tree/a /tree/a/b /unpacked/in/side /added /work/deep/here"
    assert sandbox.shell(f"run; [ -L /bin ] && [ -L /link ] && cat /heredoc && {stats}").decode() == (
        "ran\nline\n/usr/bin/run 755 0:0\n/owned/plain 640 1234:4321\n/real/through 644 0:0\n/tree 755 77:77\n/tree/a 755 77:77\n"
        "/tree/a/b 644 77:77\n/unpacked/in/side 600 5:6\n/added 644 0:0\n/work/deep/here 644 0:0\n"
    )
    assert sandbox.shell("pwd", workdir="") in (b"/\n", b"/work/deep\n")


def tarred(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(content), 0o600, 5, 6
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def test_user_and_workdir_hold_for_later_steps_and_the_image(client: RawClient, define: Definitions, look: Looked) -> None:
    image, log = client.build(
        define.of("RUN useradd -u 1234 -m somebody", "WORKDIR /home/somebody", "USER somebody", "RUN id -u; pwd; touch mine", "ENV A=1")
    )
    assert log.decode().split() == ["1234", "/home/somebody"]
    assert (image.config.user, image.config.workdir) == ("somebody", "/home/somebody")
    sandbox = look.into(image)
    assert sandbox.shell("stat -c %u /home/somebody/mine; echo $A").split() == [b"1234", b"1"]


def test_a_layer_on_an_image(client: RawClient, define: Definitions, look: Looked) -> None:
    base, _ = client.build(define.of("RUN echo base > /base"))
    layer = image_pb2.ImageLayer(commands=["RUN echo more > /more"])
    image, _ = client.build(image_pb2.ImageDefinition(image_id=base.image_id, layers=[layer]))
    assert look.into(image).shell("cat /base /more") == b"base\nmore\n"
    assert image.parent_image_id == base.image_id


@pytest.fixture(scope="module")
def reference(client: RawClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry's name of an image with a file ``/base``."""
    layer = image_pb2.ImageLayer(commands=["RUN echo base > /base"])
    base, _ = client.build(image_pb2.ImageDefinition(debian="3.11", layers=[layer]))
    with registry_server(tmp_path_factory.mktemp("registry")) as registry:
        name = f"{registry.address}/tests/base:1"
        push = image_pb2.ImagePushRequest(image_id=base.image_id, target=image_pb2.RegistryImage(reference=name))
        assert list(client.control.stream("ImagePush", push, timeout_s=BUILD_S))[-1].digest
        yield name


def staged(client: RawClient, reference: str, *copies: str) -> image_pb2.ImageInfo:
    """An image of two stages, of which the second takes from the first."""
    first = "RUN mkdir /out && echo made > /out/result && ln -s result /out/link && chmod 600 /out/result && echo rubbish > /rubbish"
    commands = [f"FROM {reference} AS made", first, f"FROM {reference}", *copies, "RUN echo $((6 * 7)) > /after"]
    image, _ = client.build(image_pb2.ImageDefinition(layers=[image_pb2.ImageLayer(commands=commands)]))
    return image


def test_stages_pass_files_on_and_nothing_else(client: RawClient, reference: str, look: Looked) -> None:
    image = staged(client, reference, "COPY --from=made /out/result /kept/", "COPY --from=0 --chown=7 --chmod=0444 /out/result /one")
    sandbox = look.into(image)
    assert sandbox.shell("cat /base /kept/result /after; stat -c '%a %u' /kept/result /one") == b"base\nmade\n42\n600 0\n444 7\n"
    assert sandbox.shell("ls -d /rubbish /out || true") == b""


def test_stages_pass_directories_on(client: RawClient, reference: str, look: Looked) -> None:
    sandbox = look.into(staged(client, reference, "COPY --from=made /out /kept"))
    assert sandbox.shell("cat /kept/link; stat -c %a /kept/result") == b"made\n600\n"


# --- failures ----------------------------------------------------------------------------------------------------------------------------


def test_a_step_that_fails_says_why_and_leaves_nothing(client: RawClient, define: Definitions, live: LiveCove) -> None:
    before = len(client.control.ImageList(image_pb2.ImageListRequest(limit=500)).images)
    definition = define.of("RUN echo first > /first", "RUN echo the reason >&2; echo $TOKEN; exit 7", secrets={"TOKEN": "t"})
    for _ in range(2):
        with pytest.raises(RemoteError, match=r"(?s)exit code 7.*the reason"):
            client.build(definition)
    assert len(client.control.ImageList(image_pb2.ImageListRequest(limit=500)).images) <= before + 1  # the base
    assert_holds(live)


def test_a_killed_step_fails_the_build(client: RawClient, define: Definitions) -> None:
    with pytest.raises(Error, match="exit code 137"):
        client.build(define.of("RUN kill -9 $$"))


def test_a_client_that_leaves_ends_its_build(client: RawClient, define: Definitions, live: LiveCove) -> None:
    events = client.building(define.of("RUN echo begun; sleep 1000"))
    assert any(b"begun" in event.log.data for event in events)
    assert len(holdings(live).rootfs_mounts) == 1
    events.close()  # type: ignore[attr-defined]  # a generator
    assert_holds(live)


def test_router_killed_in_the_middle_of_a_build(client: RawClient, define: Definitions, live: LiveCove) -> None:
    definition = define.of("RUN echo begun; [ -e /wait ] || sleep 3; echo done > /done")
    begun = threading.Event()

    def build() -> None:
        try:
            for event in client.building(definition):
                if b"begun" in event.log.data:
                    begun.set()
        except Error:
            pass  # its router was killed

    thread = threading.Thread(target=build)
    thread.start()
    assert begun.wait(30)
    live.kill("router")
    thread.join(30)
    live.start("router")
    live.wait_ready()
    deadline = time.monotonic() + 100
    while holdings(live).rootfs_mounts:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    image, _ = client.build(definition)
    assert image.image_id


def test_sandboxes_of_builds_are_gone_and_told_of(client: RawClient, define: Definitions, live: LiveCove) -> None:
    client.build(define.of("RUN true"))
    assert_holds(live)
    running = [
        info
        for info in client.control.SandboxList(control_pb2.SandboxListRequest()).sandboxes
        if info.status.state == common_pb2.SANDBOX_STATE_RUNNING
    ]
    assert running == []

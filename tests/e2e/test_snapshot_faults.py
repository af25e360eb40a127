"""What goes wrong in the middle of a snapshot, or with a layer: the sandbox runs on, nothing half-made stays, and asking again succeeds."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from cove.exception import ConflictError, Error
from cove.types import is_id, new_id
from cove.wire import common_pb2, data_pb2, image_pb2
from sandboxd.cgroup import freezer
from tests.support.guest_trees import EVERY_KIND, manifest, python
from tests.support.leaks import assert_holds, cgroup_of
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import own_cove
from tests.support.raw_client import RawClient, RawSandbox, ending

MIB = 2**20
STORE_BYTES = 4096 * MIB  # as far as a store goes that keeps a reserve; memory is taken as it is used
TICKS = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system for the store."""
    directory = tmp_path_factory.mktemp("store")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STORE_BYTES}", "store", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[LiveCove]:
    """An instance of this module's own, whose parts it may kill."""
    with own_cove(tmp_path_factory.mktemp("cove"), COVE_ROUTER_STORE_URL=f"file://{store}") as instance:
        yield instance


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove, client: RawClient) -> Iterator[None]:
    """Nothing of any sandbox may be left, and of layers whole ones alone. In the place of the general check: daemons come and go here."""
    yield
    assert_holds(live)
    deadline = time.monotonic() + 20  # the store is brought layers in the background
    while strange := strangers(live):
        assert time.monotonic() < deadline, strange
        time.sleep(0.05)


def layers(live: LiveCove) -> Path:
    return live.directory / "state" / "pool" / "layers"


def strangers(live: LiveCove) -> list[str]:
    """What lies among the layers and is none."""
    names = {path.name for path in layers(live).iterdir()}
    return sorted(name for name in names if not is_id(name, "ly") and not (name.endswith(".json") and name[: -len(".json")] in names))


def forget(live: LiveCove, image: image_pb2.ImageInfo, client: RawClient) -> None:
    """Wait until the image is stored, and remove all layers from the node."""
    client.stored(image)
    for path in layers(live).iterdir():
        subprocess.run(["rm", "-rf", str(path)], check=True)


# --- the node daemon dies ----------------------------------------------------------------------------------------------------------------


def test_daemon_killed_while_the_sandbox_stands_still(live: LiveCove, client: RawClient) -> None:
    sandbox = client.ready()
    with ending(sandbox):
        ticker = sandbox.start("sh", "-c", TICKS)
        sandbox.shell("mkdir /data; echo kept > /data/file")
        freezer.freeze(cgroup_of(live, sandbox.sandbox_id))  # as the daemon had it when it died
        half = layers(live) / f"{new_id('ly')}.taken"
        subprocess.run(["btrfs", "-q", "subvolume", "snapshot", str(upper(live, sandbox)), str(half)], check=True)
        (layers(live) / f"{new_id('ly')}.partial" / "upper").mkdir(parents=True)
        (layers(live) / f"{new_id('ly')}.json").write_text("{}")
        (layers(live) / f"{new_id('ly')}.pack").write_text("half an archive")
        live.restart("sandboxd")
        assert strangers(live) == []
        ticks = sandbox.wait(ticker, 0.0).stdout_bytes
        assert sandbox.shell("cat /data/file") == b"kept\n"
        while sandbox.wait(ticker, 0.05).stdout_bytes == ticks:
            pass
        image = sandbox.snapshot()
    copy = client.ready_from(image)
    with ending(copy):
        assert copy.shell("cat /data/file") == b"kept\n"


def upper(live: LiveCove, sandbox: RawSandbox) -> Path:
    return live.directory / "state" / "pool" / "sandboxes" / sandbox.sandbox_id


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.3])
def test_daemon_killed_in_the_middle_of_a_snapshot(live: LiveCove, client: RawClient, delay_s: float) -> None:
    sandbox = client.ready()
    with ending(sandbox):
        sandbox.shell("mkdir /data; for i in 1 2 3 4; do head -c 20000000 /dev/urandom > /data/$i; done; md5sum /data/* > /sums")
        caught: list[BaseException] = []

        def snapshot() -> None:
            try:
                sandbox.snapshot("the-key")
            except (Error, grpc.RpcError) as error:
                caught.append(error)

        thread = threading.Thread(target=snapshot)
        thread.start()
        time.sleep(delay_s)
        live.restart("sandboxd")
        thread.join(40)
        assert all(isinstance(error, Error) and error.retryable for error in caught), caught
        assert strangers_of_work(live) == []
        assert sandbox.shell("echo alive") == b"alive\n"
        image = retried(sandbox, "the-key")
    copy = client.ready_from(image)
    with ending(copy):
        copy.shell("md5sum -c --quiet /sums")


def strangers_of_work(live: LiveCove) -> list[str]:
    """Left of a snapshot, not of bringing layers to the store."""
    return [name for name in strangers(live) if not name.endswith(".pack")]


def retried(sandbox: RawSandbox, key: str) -> image_pb2.ImageInfo:
    """The snapshot, asked for until the router has found the node again."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return sandbox.snapshot(key)
        except Error as error:
            assert error.retryable, error
            assert time.monotonic() < deadline, error
            time.sleep(0.05)


# --- the sandbox goes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.03])
def test_sandbox_terminated_during_its_snapshot(live: LiveCove, client: RawClient, delay_s: float) -> None:
    sandbox = client.ready()
    sandbox.shell("mkdir /data; head -c 50000000 /dev/urandom > /data/file")
    images: list[image_pb2.ImageInfo] = []
    caught: list[Error] = []

    def snapshot() -> None:
        try:
            images.append(sandbox.snapshot())
        except Error as error:
            caught.append(error)

    thread = threading.Thread(target=snapshot)
    thread.start()
    time.sleep(delay_s)
    sandbox.terminate()
    assert sandbox.ended().reason == common_pb2.END_REASON_TERMINATED
    thread.join(30)
    assert len(images) + len(caught) == 1
    for error in caught:
        assert isinstance(error, ConflictError), error
        assert error.code == "sandbox_ended"
    for image in images:
        copy = client.ready_from(image)
        with ending(copy):
            assert copy.shell("stat -c %s /data/file") == b"50000000\n"


def test_a_client_that_goes_leaves_the_sandbox_running(live: LiveCove, client: RawClient) -> None:
    """Calls that are given up in the middle, again and again: whatever the moment, the sandbox runs on."""
    sandbox = client.ready()
    with ending(sandbox):
        ticker = sandbox.start("sh", "-c", TICKS)
        sandbox.first_output(ticker)
        for number in range(12):
            request = image_pb2.SandboxSnapshotFilesystemRequest(
                sandbox_id=sandbox.sandbox_id, idempotency_key=new_id("ik"), timeout_s=0.001 * (number + 1)
            )
            with contextlib.suppress(Error):
                client.control.SandboxSnapshotFilesystem(request)
        ticks = sandbox.wait(ticker, 0.0).stdout_bytes
        deadline = time.monotonic() + 10
        while sandbox.wait(ticker, 0.05).stdout_bytes == ticks:
            assert time.monotonic() < deadline, "it stands still"
        assert sandbox.wait(ticker, 0.0).state == data_pb2.PROCESS_STATE_RUNNING


# --- layers and the store ----------------------------------------------------------------------------------------------------------------


def test_a_full_store_gets_the_layer_later(live: LiveCove, client: RawClient, store: Path) -> None:
    sandbox = client.ready()
    resize(store, sum(path.stat().st_blocks * 512 for path in store.rglob("*")) + MIB)
    with ending(sandbox):
        sandbox.shell("mkdir /data; head -c 3000000 /dev/urandom > /data/file")
        image = sandbox.snapshot()
        copy = client.ready_from(image)  # on its node it can be used at once
        with ending(copy):
            assert copy.shell("stat -c %s /data/file") == b"3000000\n"
        wait_for(lambda: "layer not stored" in live.log("router").read_text())
        assert not client.image(image.image_id).stored
        resize(store, STORE_BYTES)
        sandbox.snapshot()  # wakes the storekeeper, which would come by itself in half a minute
        client.stored(image)


def resize(store: Path, size_bytes: int) -> None:
    """Give the store's file system another size."""
    subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(store)], check=True)


def test_a_corrupt_layer_in_the_store_is_told_and_makes_no_sandbox(live: LiveCove, client: RawClient, store: Path) -> None:
    sandbox = client.ready()
    with ending(sandbox):
        sandbox.shell("mkdir /data; head -c 3000000 /dev/urandom > /data/file")
        before = {path for path in store.rglob("*") if path.is_file()}
        image = sandbox.snapshot()
        forget(live, image, client)
        (blob,) = [path for path in store.rglob("*") if path.is_file() and path not in before and path.stat().st_size > MIB]
        whole = blob.read_bytes()
        blob.chmod(0o600)
        for damaged in (whole[:1_000_000] + b"\0damage" + whole[1_000_007:], whole[:2_000_000]):
            blob.write_bytes(damaged)
            broken = client.create("sleep", "100", image=common_pb2.ImageRef(image_id=image.image_id))
            result = broken.ended()
            assert result.reason == common_pb2.END_REASON_INTERNAL_FAILURE
            assert result.message
            print("\n", result.message)
            assert list(layers(live).iterdir()) == []
        blob.write_bytes(whole)
        copy = client.ready_from(image)
        with ending(copy):
            assert copy.shell("stat -c %s /data/file") == b"3000000\n"


def test_starts_at_once_fetch_a_layer_once(live: LiveCove, client: RawClient) -> None:
    sandbox = client.ready()
    python(sandbox, EVERY_KIND)
    with ending(sandbox):
        before = manifest(sandbox)
        image = sandbox.snapshot()
        forget(live, image, client)
    copies = [client.create(image=common_pb2.ImageRef(image_id=image.image_id)) for _ in range(4)]
    with ending(*copies):
        for copy in copies:
            assert manifest(copy) == before
        assert len(list(layers(live).glob("ly-*/upper"))) == 1


def test_a_layer_that_a_sandbox_uses_stays(live: LiveCove, client: RawClient) -> None:
    sandbox = client.ready()
    with ending(sandbox):
        sandbox.shell("mkdir /data; echo kept > /data/file")
        image = sandbox.snapshot()
    client.stored(image)
    copy = client.ready_from(image)
    with ending(copy):
        with pytest.raises(ConflictError):
            client.control.ImageDelete(image_pb2.ImageDeleteRequest(image_id=image.image_id))
        client.control.ImagePrune(image_pb2.ImagePruneRequest(older_than_s=0))
        assert copy.shell("cat /data/file") == b"kept\n"
    client.control.ImageDelete(image_pb2.ImageDeleteRequest(image_id=image.image_id))
    client.control.ImagePrune(image_pb2.ImagePruneRequest(older_than_s=0))
    with pytest.raises(Error):
        client.image(image.image_id)


def wait_for(condition: object) -> None:
    """Return when ``condition()`` holds."""
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

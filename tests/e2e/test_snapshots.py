"""Filesystem snapshots: what starts from one has the very files that its source had, and the source does not notice."""

from __future__ import annotations

import shutil
import signal
import statistics
import time

import pytest

from cove.wire import data_pb2
from router.images.manifests import CHAIN_LENGTH
from tests.e2e.conftest import Make
from tests.support.guest_trees import EDITS, EVERY_KIND, manifest, python
from tests.support.live_cove import LiveCove
from tests.support.raw_client import RawClient, RawSandbox


def forget_layers(live: LiveCove) -> None:
    """Remove every layer from the node, as if it had never been there; nothing may be mounted on one."""
    for path in (live.directory / "state" / "pool" / "layers").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# --- one snapshot ------------------------------------------------------------------------------------------------------------------------


def test_files_of_every_kind_are_identical_at_once_and_from_the_store(live: LiveCove, client: RawClient, make: Make) -> None:
    source = make()
    python(source, EVERY_KIND)
    before = manifest(source)
    assert len(before) > 500
    image = source.snapshot()
    at_once = make(image)
    assert manifest(at_once) == before
    client.stored(image)
    at_once.terminate()
    at_once.ended()
    forget_layers(live)
    fetched = make(image)
    assert manifest(fetched) == before
    (sparse,) = (live.directory / "state" / "pool" / "layers").glob("ly-*/upper/data/sparse")
    assert sparse.stat().st_blocks < 2**20 // 512  # inside every hole seems to take room
    assert manifest(source) == before


def test_a_snapshot_is_a_moment_and_its_source_runs_on(make: Make) -> None:
    source = make()
    writer = source.start("python3", "-c", WRITER)
    ticker = source.start("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")
    source.first_output(writer)
    images = [source.snapshot() for _ in range(6)]
    counts = []
    for image in images:
        one, two, mapped = (int(word) for word in make(image).shell(COUNTS).split())
        assert 0 <= one - two <= 1
        assert 0 <= one - mapped <= 1
        counts.append(one)
    assert counts == sorted(counts)
    assert source.wait(writer, 0.0).state == data_pb2.PROCESS_STATE_RUNNING
    for process in (writer, ticker):
        source.signal(process, signal.SIGKILL)
        source.wait(process)
    ticks = [int(line) for line in source.output(ticker).split()]
    assert ticks == list(range(1, len(ticks) + 1))
    assert int(source.shell("stat -c %s /data/one")) // 8 > counts[-1] > 0


WRITER = r"""
import mmap, os, struct
os.makedirs("/data")
with open("/data/mapped", "wb") as file:
    file.write(bytes(4096))
one, two = (open(f"/data/{name}", "wb", buffering=0) for name in ("one", "two"))
with open("/data/mapped", "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 4096)
for number in range(1, 10_000_000):
    one.write(b"%07d\n" % number)
    two.write(b"%07d\n" % number)
    mapped[:8] = struct.pack("<q", number)
    if number == 100:
        print("writing", flush=True)
"""
"""Writes each number into three files, one after the other."""

COUNTS = (
    "echo $(($(stat -c %s /data/one) / 8)) $(($(stat -c %s /data/two) / 8)); od -An -t d8 -N8 /data/mapped;"
    " seq -f %07.0f $(($(stat -c %s /data/one) / 8)) | cmp - /data/one"
)
"""How far each file is; fails if one has anything but the numbers."""


def test_the_same_key_gives_the_same_image_and_another_key_another(make: Make) -> None:
    source = make()
    source.shell("mkdir /data; echo first > /data/file")
    image = source.snapshot("key-a")
    source.shell("echo second > /data/file")
    assert source.snapshot("key-a").image_id == image.image_id
    other = source.snapshot("key-b")
    assert other.image_id != image.image_id
    assert make(image).shell("cat /data/file") == b"first\n"
    assert make(other).shell("cat /data/file") == b"second\n"
    assert make().snapshot("key-a").image_id != image.image_id


def test_times_that_nobody_set_are_off_by_milliseconds_at_most(make: Make) -> None:
    source = make()
    source.shell("mkdir /data; for i in 1 2 3 4 5 6; do echo $i > /data/$i; mkdir /data/d$i; ln -s x /data/l$i; sleep 0.03; done")
    times = "cd /data; stat -c %.9Y . *"
    there = make(source.snapshot())
    for mine, its in zip(source.shell(times).split(), there.shell(times).split(), strict=True):
        assert abs(float(mine) - float(its)) < 0.05


def test_a_full_disk_can_be_kept_and_its_copy_has_room(make: Make) -> None:
    """What a snapshot shares counts on its source, which made it, for as long as both exist."""
    source = make(disk_limit_bytes=32 * 2**20)
    full = source.shell("mkdir /data; for i in $(seq 500); do head -c 100000 /dev/urandom > /data/$i || break; done 2>&1")
    assert b"quota exceeded" in full
    before = manifest(source, exact=False)
    image = source.snapshot()
    there = make(image, disk_limit_bytes=32 * 2**20)
    assert manifest(there, exact=False) == before == manifest(source, exact=False)
    there.shell("rm /data/1; head -c 20000000 /dev/urandom > /data/more")
    with pytest.raises(AssertionError, match="quota"):
        source.shell("head -c 50000000 /dev/urandom > /data/more")


# --- chains of snapshots -----------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_chain_of_forty_snapshots_stays_identical_short_and_quick(client: RawClient, live: LiveCove) -> None:
    sandbox = client.ready()
    sandbox.shell("mkdir -p /data /opt")
    starts, images, before = [], [], [""]
    for seed in range(40):
        python(sandbox, EDITS, str(seed))
        before = edited(sandbox)
        images.append(sandbox.snapshot())
        sandbox.terminate()
        began = time.monotonic()
        following = client.ready_from(images[-1])
        starts.append(time.monotonic() - began)
        sandbox = following
        assert edited(sandbox) == before, f"after {seed + 1} snapshots"
        assert images[-1].layers <= CHAIN_LENGTH + 1
    for image in images:
        client.stored(image)
    sandbox.terminate()
    sandbox.ended()
    forget_layers(live)
    fetched = client.ready_from(images[-1])
    assert edited(fetched) == before
    fetched.terminate()
    fetched.ended()
    early, late = statistics.median(starts[:8]), statistics.median(starts[-8:])
    print(f"\nstart from a chain: {early:.3f} s at first, {late:.3f} s at the end: {late / early:.2f} times")


def edited(sandbox: RawSandbox) -> list[str]:
    """What :data:`EDITS` may have changed."""
    return manifest(sandbox, "/data", "/opt", "/usr/share/doc", exact=False)


# --- differences -------------------------------------------------------------------------------------------------------------------------


def test_differences_since_creation_and_between_images(client: RawClient, make: Make) -> None:
    source = make()
    assert source.diff() == {}, "since its creation nothing has changed"
    source.shell("mkdir /data; echo a > /data/changed; echo b > /data/removed; echo c > /data/touched; cp /etc/issue /data/same")
    first = source.snapshot()
    following = make(first)
    assert following.diff() == {}
    following.shell(
        "echo more >> /data/changed; rm /data/removed; chmod 600 /data/touched; mkdir /data/new; echo > /data/new/file;"
        "cat /data/same > /data/x; cat /data/x > /data/same; rm /data/x; rm -rf /etc/init.d; chown 7 /etc/group"
    )
    changes = following.diff()
    removed = {path: kind for path, kind in changes.items() if path.startswith(b"etc/init.d")}
    assert set(removed.values()) == {"removed"}
    assert len(removed) > 1
    assert {path: kind for path, kind in changes.items() if path not in removed} == {
        b"data/changed": "changed",
        b"data/new": "added",
        b"data/new/file": "added",
        b"data/removed": "removed",
        b"data/same": "metadata",
        b"data/touched": "metadata",
        b"etc/group": "metadata",
    }
    second = following.snapshot()
    assert client.image_diff(first, second) == changes
    assert client.image_diff(first, first) == {}
    back = client.image_diff(second, first)
    assert {path: back[path] for path in (b"data/new", b"data/removed", b"data/changed")} == {
        b"data/new": "removed",
        b"data/removed": "added",
        b"data/changed": "changed",
    }

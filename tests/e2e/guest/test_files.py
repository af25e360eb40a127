"""Calls and transfers on files."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from tests.support.guest_driver import Driver
from tests.support.guest_wire import ACK, CLOSE, DATA, EOF, EVENT, FILE_READ, FILE_WRITE, Fields, GuestFailure, Stat, text

READ, WRITE, CREATE, TRUNCATE, APPEND, EXCLUSIVE = 1, 2, 4, 8, 16, 32


def open_file(driver: Driver, path: str, flags: int, *, mode: int = 0o644, read_ahead: int = 0) -> tuple[int, int, bytes, bool]:
    fields = driver.call(6, text(path) + struct.pack("<III", flags, mode, read_ahead))
    handle, size = fields.take("IQ")
    first = fields.text()
    (complete,) = fields.take("B")
    fields.end()
    return handle, size, first, bool(complete)


def read(driver: Driver, handle: int, count: int) -> bytes:
    fields = driver.call(7, struct.pack("<II", handle, count))
    data = fields.text()
    fields.end()
    return data


def write(driver: Driver, handle: int, data: bytes, then: int = 0) -> int:
    return driver.call(8, struct.pack("<IB", handle, then) + text(data)).take("Q")[0]


def seek(driver: Driver, handle: int, offset: int, whence: int = 0) -> int:
    return driver.call(9, struct.pack("<IqB", handle, offset, whence)).take("Q")[0]


def close(driver: Driver, handle: int) -> None:
    driver.call(11, struct.pack("<I", handle)).end()


def refused(driver: Driver, operation: int, arguments: bytes) -> int:
    with pytest.raises(GuestFailure) as raised:
        driver.call(operation, arguments)
    assert raised.value.strerror
    return raised.value.errno or 0


def test_handles(driver: Driver, scratch: str) -> None:
    path = f"{scratch}/file"
    handle, size, first, complete = open_file(driver, path, READ | WRITE | CREATE | EXCLUSIVE, mode=0o640, read_ahead=100)
    assert (size, first, complete) == (0, b"", True)
    assert driver.stat(path)[0].mode == 0o100640
    assert write(driver, handle, b"hello world") == 11
    assert seek(driver, handle, -5, 2) == 6
    assert read(driver, handle, 100) == b"world" and read(driver, handle, 100) == b""
    assert seek(driver, handle, 0) == 0 and write(driver, handle, b"J", 1) == 1
    driver.call(10, struct.pack("<I", handle)).end()
    assert write(driver, handle, b"E", 2) == 2
    assert refused(driver, 7, struct.pack("<II", handle, 1)) == errno.EBADF
    assert driver.read_file(path) == b"JEllo world"
    handle, size, first, complete = open_file(driver, path, READ, read_ahead=5)
    assert (size, first, complete) == (11, b"JEllo", False)
    assert read(driver, handle, 262_000) == b" world"
    close(driver, handle)
    handle, _, first, complete = open_file(driver, path, READ | APPEND | WRITE, read_ahead=11)
    assert (first, complete) == (b"JEllo world", True)
    assert write(driver, handle, b"!") == 12
    close(driver, handle)
    handle, size, *_ = open_file(driver, path, WRITE | TRUNCATE)
    assert size == 0
    close(driver, handle)
    assert refused(driver, 6, text(path) + struct.pack("<III", WRITE | CREATE | EXCLUSIVE, 0, 0)) == errno.EEXIST


def test_files_without_a_size_are_read_to_their_end(driver: Driver) -> None:
    handle, size, first, complete = open_file(driver, "/proc/self/status", READ, read_ahead=200_000)
    assert size == 0 and first.startswith(b"Name:\tinit" if b"init" in first[:12] else b"Name:") and complete
    close(driver, handle)


def test_large_reads_and_writes_of_one_call(driver: Driver, scratch: str) -> None:
    data = os.urandom(262_000)
    handle, *_ = open_file(driver, f"{scratch}/large", READ | WRITE | CREATE)
    assert write(driver, handle, data) == len(data)
    seek(driver, handle, 0)
    assert read(driver, handle, 2**32 - 1) == data
    close(driver, handle)


def test_handles_are_limited_and_come_back(driver: Driver) -> None:
    handles = [open_file(driver, "/etc/passwd", READ)[0] for _ in range(1024)]
    assert refused(driver, 6, text("/etc/passwd") + struct.pack("<III", READ, 0, 0)) == errno.EMFILE
    for handle in handles:
        close(driver, handle)
    assert driver.status()[3] == 0


def test_what_is_no_file_is_not_opened(driver: Driver, scratch: str) -> None:
    """None of it may block, wake somebody else, or read a terminal."""
    driver.shell(f"mkfifo {scratch}/fifo; ln -s fifo {scratch}/link; mkdir {scratch}/directory")
    driver.run(["python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind('{scratch}/socket')"])
    wants = struct.pack("<III", READ, 0, 0)
    assert refused(driver, 6, text(f"{scratch}/fifo") + wants) == errno.EINVAL
    assert refused(driver, 6, text(f"{scratch}/link") + wants) == errno.EINVAL
    assert refused(driver, 6, text(f"{scratch}/socket") + wants) == errno.EINVAL
    assert refused(driver, 6, text(f"{scratch}/directory") + wants) == errno.EISDIR
    assert refused(driver, 6, text("/dev/ptmx") + wants) == errno.EINVAL
    assert refused(driver, 6, text(f"{scratch}/missing") + wants) == errno.ENOENT
    waiting = driver.start(["sh", "-c", f"echo woken > {scratch}/fifo"])
    assert refused(driver, 6, text(f"{scratch}/fifo") + wants) == errno.EINVAL
    assert driver.shell(f"cat {scratch}/fifo") == "woken\n"
    assert driver.wait(waiting).succeeded
    handle, *_ = open_file(driver, "/dev/zero", READ)
    assert read(driver, handle, 10) == bytes(10)
    close(driver, handle)


@pytest.mark.parametrize("path", ["", "relative", "/nul\0", "/" + "x" * 4095])
def test_paths_that_are_none(driver: Driver, path: str) -> None:
    expected = errno.ENAMETOOLONG if len(path) > 4095 else errno.EINVAL
    assert refused(driver, 1, text(path) + b"\0") == expected
    assert refused(driver, 2, text(path)) == expected
    with pytest.raises(GuestFailure) as raised:
        driver.write_file(path, b"")
    assert raised.value.errno == expected


def test_stat_and_links(driver: Driver, scratch: str) -> None:
    driver.write_file(f"{scratch}/file", b"12345", 0o600)
    driver.call(13, text("file") + text(f"{scratch}/link")).end()
    link, target = driver.stat(f"{scratch}/link")
    assert (link.mode & 0o170000, target) == (0o120000, b"file")
    file, target = driver.stat(f"{scratch}/link", follow=True)
    assert (file.mode, file.size, target) == (0o100600, 5, b"")
    driver.call(12, text(f"{scratch}/link") + struct.pack("<I", 0o4755)).end()
    assert driver.stat(f"{scratch}/file")[0].mode == 0o104755
    driver.call(5, text(f"{scratch}/link") + text(f"{scratch}/moved")).end()
    assert driver.stat(f"{scratch}/moved")[1] == b"file"
    assert refused(driver, 5, text(f"{scratch}/missing") + text(f"{scratch}/x")) == errno.ENOENT


def test_a_loop_of_links_is_an_error(driver: Driver, scratch: str) -> None:
    driver.call(13, text("b") + text(f"{scratch}/a")).end()
    driver.call(13, text("a") + text(f"{scratch}/b")).end()
    assert refused(driver, 1, text(f"{scratch}/a") + b"\1") == errno.ELOOP
    assert refused(driver, 6, text(f"{scratch}/a") + struct.pack("<III", READ, 0, 0)) == errno.ELOOP
    with pytest.raises(GuestFailure) as raised:
        driver.write_file(f"{scratch}/a", b"")
    assert raised.value.errno == errno.ELOOP


def test_renaming_across_mounts_tells_so(driver: Driver, scratch: str) -> None:
    driver.write_file(f"{scratch}/file", b"x")
    assert refused(driver, 5, text(f"{scratch}/file") + text("/dev/shm/file")) == errno.EXDEV


def test_directories(driver: Driver, scratch: str) -> None:
    driver.make_directory(f"{scratch}/a", 0o700)
    assert driver.stat(f"{scratch}/a")[0].mode == 0o040700
    assert refused(driver, 3, text(f"{scratch}/a") + struct.pack("<IB", 0o755, 0)) == errno.EEXIST
    assert refused(driver, 3, text(f"{scratch}/x/y") + struct.pack("<IB", 0o755, 0)) == errno.ENOENT
    driver.make_directory(f"{scratch}/x/y/z", 0o1777, parents=True)
    assert driver.stat(f"{scratch}/x/y")[0].mode == 0o040755
    assert driver.stat(f"{scratch}/x/y/z")[0].mode == 0o041777
    driver.make_directory(f"{scratch}/x/y/z", 0o700, parents=True)
    driver.write_file(f"{scratch}/file", b"")
    assert refused(driver, 3, text(f"{scratch}/file") + struct.pack("<IB", 0o755, 1)) == errno.EEXIST
    assert refused(driver, 4, text(f"{scratch}/x") + b"\0") == errno.ENOTEMPTY
    driver.remove(f"{scratch}/a")
    assert refused(driver, 4, text(f"{scratch}/a") + b"\1") == errno.ENOENT
    assert refused(driver, 4, text("/") + b"\1") == errno.EINVAL


def test_removing_a_tree_follows_no_link(driver: Driver, scratch: str) -> None:
    driver.shell(
        f"cd {scratch}; mkdir keep tree tree/sub; touch keep/file tree/sub/f; "
        "ln -s ../keep tree/link; ln -s /etc tree/sub/etc; chmod 0 tree/sub"
    )
    driver.remove(f"{scratch}/tree", recursive=True)
    assert [name for name, _ in driver.list_directory(scratch)] == [b"keep"]
    assert driver.exists(f"{scratch}/keep/file") and driver.exists("/etc/passwd")
    driver.call(13, text("keep") + text(f"{scratch}/link")).end()
    driver.remove(f"{scratch}/link", recursive=True)
    assert driver.exists(f"{scratch}/keep/file")


def test_removing_a_deep_tree(driver: Driver, scratch: str) -> None:
    driver.run(["python3", "-c", f"import os; os.chdir('{scratch}')\nfor _ in range(400): os.mkdir('d' * 20); os.chdir('d' * 20)"])
    driver.remove(f"{scratch}/{'d' * 20}", recursive=True)
    assert driver.list_directory(scratch) == []


def test_listing_a_large_directory_in_order(driver: Driver, scratch: str) -> None:
    script = f"import os\nfor number in range(3000): open(f'{scratch}/{{number:x}}', 'w').close()\nos.symlink('nowhere', '{scratch}/link')"
    driver.run(["python3", "-c", script])
    entries = driver.list_directory(scratch)
    names = [name for name, _ in entries]
    assert names == sorted(names) and len(names) == 3001
    assert dict(entries)[b"link"].mode & 0o170000 == 0o120000
    assert refused(driver, 2, text(f"{scratch}/0")) == errno.ENOTDIR
    assert refused(driver, 2, text(f"{scratch}/missing")) == errno.ENOENT


def test_removal_and_listing_let_others_through(driver: Driver, scratch: str) -> None:
    driver.shell(f"mkdir {scratch}/many; cd {scratch}/many; seq 1 3000 | xargs touch")
    removal = driver.open(2, b"\x04" + text(f"{scratch}/many") + b"\1")
    listing = driver.open(2, b"\x02" + text("/proc/self"))
    driver.ping()
    driver.reply(removal)
    while driver.receive(listing).kind == EVENT:
        pass
    assert driver.list_directory(scratch) == []


def test_calls_with_malformed_arguments(driver: Driver) -> None:
    for operation in range(1, 15):
        for arguments in [b"\xff\xff\xff", text("/x") + bytes(64)]:
            assert refused(driver, operation, arguments) == errno.EINVAL, operation


def test_written_files_come_back(driver: Driver, scratch: str) -> None:
    for size in (0, 1, 262_144, 262_145, 3_000_000):
        data = os.urandom(size)
        assert driver.write_file(f"{scratch}/new/{size}", data, 0o640, parents=True) == size
        assert driver.read_file(f"{scratch}/new/{size}") == data
        assert driver.stat(f"{scratch}/new/{size}")[0].mode == 0o100640
    assert driver.read_file(f"{scratch}/new/262145", 262_140) == data[:0] + driver.read_file(f"{scratch}/new/262145")[262_140:]
    assert driver.read_file(f"{scratch}/new/3000000", 10, 5) == data[10:15]
    assert driver.read_file(f"{scratch}/new/3000000", 1 << 40) == b""
    assert driver.read_file(f"{scratch}/new/1", 0, 0) == b""


def test_replacing_keeps_mode_and_owner_and_follows_links(driver: Driver, scratch: str) -> None:
    driver.shell(
        f"cd {scratch}; echo old > file; chown 12:34 file; chmod 4711 file; ln -s file link; ln -s dangling/new broken; mkdir dangling"
    )
    driver.write_file(f"{scratch}/link", b"new", 0o600)
    stat = driver.stat(f"{scratch}/file")[0]
    assert (stat.mode, stat.uid, stat.gid) == (0o104711, 12, 34)
    assert driver.stat(f"{scratch}/link")[1] == b"file"
    driver.write_file(f"{scratch}/broken", b"through")
    assert driver.read_file(f"{scratch}/dangling/new") == b"through"
    driver.write_file(f"{scratch}/file", b"+", append=True)
    assert driver.read_file(f"{scratch}/file") == b"new+"
    driver.write_file(f"{scratch}/appended", b"x", 0o604, append=True)
    assert driver.stat(f"{scratch}/appended")[0].mode == 0o100604
    driver.write_file("/dev/null", b"gone")
    assert sorted(name for name, _ in driver.list_directory(scratch)) == [b"appended", b"broken", b"dangling", b"file", b"link"]


@pytest.mark.parametrize(
    ("path", "number"), [("missing/file", errno.ENOENT), ("directory", errno.EISDIR), ("fifo", errno.EINVAL), ("file/below", errno.ENOTDIR)]
)
def test_what_cannot_be_written_says_so_at_once(driver: Driver, scratch: str, path: str, number: int) -> None:
    driver.shell(f"cd {scratch}; mkdir directory; mkfifo fifo; touch file")
    with pytest.raises(GuestFailure) as raised:
        driver.write_file(f"{scratch}/{path}", b"x")
    assert raised.value.errno == number


def test_a_cut_upload_leaves_the_old_file(driver: Driver, scratch: str) -> None:
    driver.write_file(f"{scratch}/file", b"old")
    stream = driver.open(FILE_WRITE, text(f"{scratch}/file") + struct.pack("<IB", 0o644, 0))
    driver.reply(stream)
    driver.send(DATA, stream, 0, 0, b"half of the new")
    driver.close(stream)
    assert driver.read_file(f"{scratch}/file") == b"old"
    assert [name for name, _ in driver.list_directory(scratch)] == [b"file"]


def test_a_gap_in_an_upload_fails_it(driver: Driver, scratch: str) -> None:
    stream = driver.open(FILE_WRITE, text(f"{scratch}/file") + struct.pack("<IB", 0o644, 0))
    driver.reply(stream)
    driver.send(DATA, stream, 0, 5, b"later")
    assert driver.receive(stream).kind == ACK
    frame = driver.receive(stream)
    assert (frame.kind, frame.channel) == (EVENT, 1)
    assert driver.receive(stream).kind == CLOSE
    assert driver.list_directory(scratch) == []


def test_a_full_disk_is_an_error_of_the_transfer(driver: Driver) -> None:
    """/dev/full stands for it: every write fails."""
    driver.shell("test -e /dev/full || mknod /dev/full c 1 7")
    with pytest.raises(GuestFailure) as raised:
        driver.write_file("/dev/full", bytes(1000))
    assert raised.value.errno == errno.ENOSPC


def test_reading_waits_for_the_window(driver: Driver, scratch: str) -> None:
    data = os.urandom(500_000)
    driver.write_file(f"{scratch}/file", data)
    stream = driver.open(FILE_READ, text(f"{scratch}/file") + struct.pack("<QQ", 0, 2**64 - 1))
    Stat.read(driver.reply(stream))
    received = driver.receive(stream).payload
    assert received == data[:262_144]
    assert driver.silent(0.1)
    driver.send(ACK, stream, 1, len(received), struct.pack("<Q", len(received) + 10))
    assert driver.receive(stream).payload == data[262_144:262_154]
    assert driver.silent(0.1)
    driver.close(stream)
    assert driver.status()[2] == 0


def test_reading_what_cannot_be_read(driver: Driver, scratch: str) -> None:
    driver.shell(f"mkfifo {scratch}/fifo")
    for path, number in [("/etc", errno.EISDIR), (f"{scratch}/fifo", errno.EINVAL), (f"{scratch}/none", errno.ENOENT)]:
        with pytest.raises(GuestFailure) as raised:
            driver.read_file(path)
        assert raised.value.errno == number


def test_an_endless_file_is_cut_by_close(driver: Driver) -> None:
    stream = driver.open(FILE_READ, text("/dev/zero") + struct.pack("<QQ", 0, 2**64 - 1))
    Stat.read(driver.reply(stream))
    assert driver.receive_any().kind == DATA
    driver.close(stream)
    driver.ping()
    assert driver.read_file("/dev/zero", 0, 1_000_000) == bytes(1_000_000)


def test_an_error_in_the_middle_of_reading(driver: Driver) -> None:
    """/proc/self/mem opens, and fails to be read at 0."""
    stream = driver.open(FILE_READ, text("/proc/self/mem") + struct.pack("<QQ", 0, 100))
    try:
        Stat.read(driver.reply(stream))
    except GuestFailure:
        return
    frame = driver.receive(stream)
    if frame.kind == EVENT:
        assert Fields(frame.payload).take("I") == (errno.EIO,)
    else:
        assert frame.kind == EOF
    assert driver.receive(stream).kind == CLOSE

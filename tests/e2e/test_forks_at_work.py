"""Forks of sandboxes at work: writing hard, thousands of files open, sockets of all kinds, full terminals."""

from __future__ import annotations

from typing import Final

import pytest

import cove
from tests.support.live_fixtures import Sandboxes

pytestmark = pytest.mark.timeout(240)

WRITER: Final = """
import os, struct, sys, threading, zlib
directory = "/root/written"
os.mkdir(directory)
stop, counts = threading.Event(), [0] * 4
def record(n):
    return struct.pack("<QI", n, zlib.crc32(b"%d" % n)) * 200
def write(number):
    with open(f"{directory}/{number}", "wb", buffering=0) as log, open(f"{directory}/{number}.last", "wb", buffering=0) as last:
        while not stop.is_set():
            if counts[number] == 10_000:
                os.ftruncate(log.fileno(), 0); log.seek(0); counts[number] = 0
            log.write(record(counts[number]))
            os.pwrite(last.fileno(), record(counts[number]), 0)
            counts[number] += 1
            if counts[number] % 50 == 0:
                os.fsync(log.fileno())
writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
for writer in writers: writer.start()
print("writing", flush=True)
input()
stop.set()
for writer in writers: writer.join()
for number, count in enumerate(counts):
    assert open(f"{directory}/{number}", "rb").read() == b"".join(map(record, range(count))), number
    assert open(f"{directory}/{number}.last", "rb").read() == record(count - 1), number
print("whole", flush=True)
"""
"""What it remembers to have written is what is in its files, whenever it is stopped."""

OPENER: Final = """
import os
os.mkdir("/root/many")
names = [f"/root/many/{number % 9000}" for number in range(10_000)]
files = [open(name, "a+b", buffering=0) for name in names]
for number, file in enumerate(files): file.write(b"%d;" % number)
print("open", flush=True)
input()
for number, file in enumerate(files):
    assert b"%d;" % number in os.pread(file.fileno(), 100, 0), number
    file.write(b"!")
assert sum(open(name, "rb").read().count(b"!") for name in set(names)) == len(files)
print("all", len(files), flush=True)
"""
"""Each file takes two descriptors of the sentry; a host whose limit is 20,000 has no more than 9,900 files for a sandbox."""

SOCKETS: Final = """
import os, socket
tcp, udp, unix = socket.AF_INET, socket.SOCK_DGRAM, socket.AF_UNIX
listening = socket.create_server(("127.0.0.1", 8000))
unused = socket.create_server(("0.0.0.0", 8001))
client = socket.create_connection(("127.0.0.1", 8000))
accepted, _ = listening.accept()
client.sendall(b"on its way"); accepted.sendall(b"and back")
half = socket.create_connection(("127.0.0.1", 8000))
other_half, _ = listening.accept()
half.sendall(b"last words"); half.shutdown(socket.SHUT_WR)
waiting = socket.create_connection(("127.0.0.1", 8000)); waiting.sendall(b"not accepted yet")
one, two = socket.socket(tcp, udp), socket.socket(tcp, udp)
one.bind(("127.0.0.1", 8002)); two.connect(("127.0.0.1", 8002))
for number in range(20): two.send(b"datagram %d" % number)
named = socket.socket(unix); named.bind("/tmp/named"); named.listen()
caller = socket.socket(unix); caller.connect("/tmp/named"); caller.sendall(b"by name")
abstract = socket.socket(unix, udp); abstract.bind("\\0abstract")
sender = socket.socket(unix, udp); sender.sendto(b"to nowhere seen", "\\0abstract")
left, right = socket.socketpair(); left.setblocking(False)
full = 0
try:
    while True: full += left.send(b"f" * 4096)
except BlockingIOError: pass
passed = os.open("/root/passed", os.O_RDWR | os.O_CREAT); os.write(passed, b"descriptor")
carrier, receiver = socket.socketpair(); socket.send_fds(carrier, [b"x"], [passed]); os.close(passed)
print("open", flush=True)
input()
assert accepted.recv(100) == b"on its way" and client.recv(100) == b"and back"
client.sendall(b"more"); assert accepted.recv(100) == b"more"
assert other_half.recv(100) == b"last words" and other_half.recv(100) == b""
other_half.sendall(b"answer"); assert half.recv(100) == b"answer"
late, _ = listening.accept(); assert late.recv(100) == b"not accepted yet"
assert [one.recv(100) for _ in range(20)] == [b"datagram %d" % number for number in range(20)]
two.send(b"again"); assert one.recv(100) == b"again"
called, _ = named.accept(); assert called.recv(100) == b"by name"
assert abstract.recv(100) == b"to nowhere seen"
got = 0
while got < full: got += len(right.recv(65536))
left.send(b"room"); assert right.recv(100) == b"room"
_, (fd,), _, _ = socket.recv_fds(receiver, 1, 1); assert os.pread(fd, 100, 0) == b"descriptor"
fresh = socket.create_connection(("127.0.0.1", 8001)); unused.accept()
print("all", full > 10_000, flush=True)
"""

TERMINALS: Final = """
import os, pty, tty
def filled(source):
    count = 0
    os.set_blocking(source, False)
    try:
        while True: count += os.write(source, b"%08d" % (count // 8))
    except BlockingIOError: os.set_blocking(source, True)
    return count
pairs = []
for raw in (True, False):
    master, slave = pty.openpty()
    if raw: tty.setraw(slave)
    pairs.append((raw, master, slave, filled(slave), filled(master) if raw else 0))
print("open", flush=True)
input()
def read(source, count):
    data = b""
    while len(data) < count: data += os.read(source, 65536)
    return data
for raw, master, slave, out, back in pairs:
    for source, target, count in ((master, slave, out), (slave, master, back)):
        if count:
            assert read(source, count) == b"".join(b"%08d" % n for n in range(count // 8 + 1))[:count]
            os.write(target, b"and on\\n"); read(source, 7)
print("all", all(pair[3] > 4000 for pair in pairs), flush=True)
"""


def begun(sandboxes: Sandboxes, program: str, said: str) -> tuple[cove.Sandbox, str]:
    """A sandbox with the program in it, which has said that it is where it shall be forked, and its exec id."""
    sandbox = sandboxes.create()
    process = sandbox.exec("python", "-c", program)
    assert next(iter(process.stdout), None) == f"{said}\n", process.stderr.read()
    return sandbox, process.exec_id


def goes_on(sandbox: cove.Sandbox, exec_id: str, line: str) -> None:
    """Pass if the program, told to go on, finds everything as it was and says so."""
    process = sandbox.process(exec_id)
    answers = iter(process.stdout)
    next(answers)
    process.stdin.write("\n")
    process.stdin.drain()
    assert next(answers, None) == f"{line}\n", process.stderr.read()
    assert process.wait() == 0


def test_under_heavy_writing_memory_and_files_are_of_one_moment(sandboxes: Sandboxes) -> None:
    source, exec_id = begun(sandboxes, WRITER, "writing")
    forks = [sandboxes.keep(fork) for _ in range(3) for fork in source.fork(1)]
    for one in (*forks, source):
        goes_on(one, exec_id, "whole")


def test_with_ten_thousand_files_open(sandboxes: Sandboxes) -> None:
    source, exec_id = begun(sandboxes, OPENER, "open")
    for one in (*map(sandboxes.keep, source.fork(2)), source):
        goes_on(one, exec_id, "all 10000")


@pytest.mark.parametrize("program", [SOCKETS, TERMINALS], ids=["sockets", "terminals"])
def test_with_what_is_in_buffers(sandboxes: Sandboxes, program: str) -> None:
    source, exec_id = begun(sandboxes, program, "open")
    for one in (*map(sandboxes.keep, source.fork(2)), source):
        goes_on(one, exec_id, "all True")

"""Processes on a terminal."""

from __future__ import annotations

import signal
import struct

from tests.support.guest_driver import Driver
from tests.support.guest_wire import CONTROL, DATA, EOF, Exec


def type_(driver: Driver, process: Exec, keys: bytes, offset: int = 0) -> int:
    driver.send(DATA, process.stream, 0, offset, keys)
    return offset + len(keys)


def read_until(driver: Driver, process: Exec, wanted: bytes) -> None:
    while wanted not in process.stdout:
        driver.step(process)


def test_a_terminal_of_the_right_size_with_a_session_of_its_own(driver: Driver) -> None:
    process = driver.run(
        ["sh", "-c", "tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo all; ps -o tty= -p $$ 2>/dev/null || true"], pty=(33, 101)
    )
    lines = process.stdout.decode().split("\r\n")
    assert lines[0].startswith("/dev/pts/") and lines[1:3] == ["33 101", "all"]
    assert process.exit is not None and process.exit.succeeded


def test_input_is_echoed_and_control_d_ends_it(driver: Driver) -> None:
    process = driver.start(["cat"], pty=(24, 80))
    end = type_(driver, process, b"hello\n")
    read_until(driver, process, b"hello\r\nhello\r\n")
    driver.send(EOF, process.stream, 0, end)
    exit_ = driver.wait(process)
    assert exit_.succeeded


def test_control_c_interrupts_the_foreground(driver: Driver) -> None:
    process = driver.start(["sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done"], pty=(24, 80))
    read_until(driver, process, b"ready")
    type_(driver, process, b"\x03")
    assert driver.wait(process).number == 3
    assert b"caught" in process.stdout


def test_resizing_tells_the_foreground(driver: Driver) -> None:
    process = driver.start(["sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"], pty=(24, 80))
    read_until(driver, process, b"ready")
    driver.send(CONTROL, process.stream, 2, payload=struct.pack("<HH", 40, 132))
    read_until(driver, process, b"40 132")
    driver.signal(process, signal.SIGKILL, tree=True)
    driver.wait(process)


def test_a_user_owns_no_more_than_they_need_of_the_terminal(driver: Driver) -> None:
    process = driver.run(["sh", "-c", "echo to-stdout; echo to-stderr >&2; stty size"], pty=(10, 20), user="daemon")
    assert process.exit is not None and process.exit.succeeded
    assert process.stdout == b"to-stdout\r\nto-stderr\r\n10 20\r\n"


def test_much_output_arrives_whole(driver: Driver) -> None:
    process = driver.run(["seq", "1", "100000"], pty=(24, 80))
    assert process.stdout == b"".join(b"%d\r\n" % number for number in range(1, 100001))


def test_much_pasted_input_arrives_whole(driver: Driver) -> None:
    """A terminal takes a few KiB at a time; the rest waits in the guest."""
    process = driver.start(["sh", "-c", "stty raw -echo; echo ready; head -c 200000 | wc -c"], pty=(24, 80))
    read_until(driver, process, b"ready")
    type_(driver, process, b"x" * 100_000)
    type_(driver, process, b"y" * 100_000, 100_000)
    assert driver.wait(process).succeeded
    assert process.stdout.split()[-1] == b"200000"


def test_a_descendant_that_keeps_the_terminal_holds_nothing_up(driver: Driver) -> None:
    trees = driver.status()[1]
    process = driver.start(
        [
            "sh",
            "-c",
            "setsid sh -c 'echo $$ >/root/holder; while :; do echo x; sleep 0.01; done' & "
            "while ! test -s /root/holder; do sleep 0.01; done; echo done",
        ],
        pty=(24, 80),
    )
    assert driver.wait(process).succeeded
    assert b"done" in process.stdout
    driver.shell("kill -9 $(cat /root/holder); rm /root/holder")
    while driver.status()[1] != trees:
        driver.shell("true")


def test_terminals_leave_no_descriptors(driver: Driver) -> None:
    driver.run(["true"], pty=(1, 1))
    before = driver.shell("ls /proc/1/fd | wc -l")
    for _ in range(30):
        driver.run(["echo"], pty=(24, 80))
    # Linux needs a moment to let go of a group.
    while driver.shell("ls /proc/1/fd | wc -l") != before:
        pass

"""Processes: how they start, what they are connected to, how they end."""

from __future__ import annotations

import errno
import signal
import struct
from collections.abc import Mapping

import pytest

from tests.support.guest_driver import Driver
from tests.support.guest_launch import LaunchedGuest
from tests.support.guest_wire import CONTROL, DATA, EOF, EVENT, PROCESS, REPLY, Exit, GuestFailure, list_, map_, text


def ending(exit_: Exit | None) -> tuple[bool, int, bool]:
    assert exit_ is not None
    return exit_.killed, exit_.number, exit_.timed_out


def test_output_and_exit_code(driver: Driver) -> None:
    process = driver.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (process.stdout, process.stderr) == (b"out\n", b"err\n")
    assert ending(process.exit) == (False, 7, False)


def test_death_by_a_signal(driver: Driver) -> None:
    assert ending(driver.run(["sh", "-c", "kill -SEGV $$"]).exit) == (True, signal.SIGSEGV, False)


def test_the_environment_is_whole_and_completed_from_passwd(driver: Driver) -> None:
    assert driver.shell("env -u PWD -u SHLVL -u _ | sort", env={"A": "1"}).splitlines()[:2] == ["A=1", "HOME=/root"]
    seen = driver.run(["env"], env={"HOME": "/h", "USER": "u", "LOGNAME": "l"}).stdout.splitlines()
    assert sorted(seen)[:2] == [b"HOME=/h", b"LOGNAME=l"]
    assert driver.run(["env"], user="nobody").stdout.splitlines()[1:] == [b"HOME=/nonexistent", b"USER=nobody", b"LOGNAME=nobody"]


def test_arguments_pass_through_untouched(driver: Driver) -> None:
    odd: list[str | bytes] = ["", " ", "'\"$(x)`", "\n", "é", b"\xff\xfe"]
    process = driver.run(["python3", "-c", "import os,sys; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))", *odd])
    assert process.stdout == b"| |'\"$(x)`|\n|" + "é".encode() + b"|\xff\xfe"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("", "0 0"),
        ("0", "0 0"),
        ("root", "0 0"),
        ("1234", "1234 0"),
        ("1234:55", "1234 55"),
        ("daemon", "1 1"),
        ("daemon:nogroup", "1 65534"),
        ("daemon:root", "1 0"),
    ],
)
def test_users(driver: Driver, user: str, ids: str) -> None:
    assert driver.shell("echo $(id -u) $(id -g)", user=user) == ids + "\n"


def test_users_have_no_capabilities_and_nobody_can_administer(driver: Driver) -> None:
    def sets(user: str) -> dict[str, int]:
        lines = driver.shell("grep -E '^Cap(Inh|Prm|Eff|Bnd)' /proc/self/status", user=user).splitlines()
        return {name: int(value, 16) for name, _, value in (line.partition(":\t") for line in lines)}

    admin = 1 << 21
    root, daemon = sets(""), sets("daemon")
    assert root["CapEff"] and not any(value & admin for value in [*root.values(), *daemon.values()])
    assert daemon["CapPrm"] == daemon["CapEff"] == 0
    assert ending(driver.run(["mount", "-t", "tmpfs", "none", "/mnt"]).exit)[1] != 0


def test_a_clean_start(driver: Driver) -> None:
    """No descriptor, signal disposition or mask of PID 1 is inherited; the process leads a session."""
    script = """
import os, signal
print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd')))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), os.getsid(0) == os.getpid(), oct(os.umask(0)))
ignored = [line.split()[1] for line in open('/proc/self/status') if line.startswith('SigIgn')]
print(ignored)
"""
    lines = driver.run(["python3", "-S", "-c", script]).stdout.decode().splitlines()
    assert lines[0] == "[0, 1, 2] 4" and lines[1] == "set() True 0o22"
    # Python itself ignores SIGPIPE and SIGXFSZ.
    assert not lines[2:] or int(lines[2][2:-2] or "0", 16) & ~(1 << 12 | 1 << 24) == 0


FAILURES: Mapping[str, tuple[list[str], dict[str, object], str, int]] = {
    "missing": (["nosuch"], {}, "exec: nosuch: ", errno.ENOENT),
    "missing path": (["/no/such"], {}, "exec: /no/such: ", errno.ENOENT),
    "file as directory": (["/etc/passwd/x"], {}, "exec: ", errno.ENOTDIR),
    "not executable": (["/etc/passwd"], {}, "exec: /etc/passwd: ", errno.EACCES),
    "directory": (["/etc"], {}, "exec: /etc: ", errno.EACCES),
    "empty name": ([""], {}, "exec: ", errno.ENOENT),
    "empty argv": ([], {}, "exec: ", errno.EINVAL),
    "cwd missing": (["true"], {"cwd": "/no/such"}, "chdir: /no/such: ", errno.ENOENT),
    "cwd is a file": (["true"], {"cwd": "/etc/passwd"}, "chdir: ", errno.ENOTDIR),
    "cwd relative": (["true"], {"cwd": "tmp"}, "chdir: ", errno.EINVAL),
    "cwd forbidden": (["true"], {"cwd": "/root/.closed", "user": "daemon"}, "chdir: ", errno.EACCES),
    "user": (["true"], {"user": "nosuch"}, "user: ", errno.EINVAL),
    "group": (["true"], {"user": "root:nosuch"}, "user: ", errno.EINVAL),
    "exec id": (["true"], {"exec_id": "a/b"}, "exec: ", errno.EINVAL),
    "NUL": (["true", "a\0b"], {}, "exec: ", errno.EINVAL),
    "too long": (["true", "x" * 140_000], {}, "exec: ", errno.E2BIG),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_cannot_start_says_why(driver: Driver, case: str) -> None:
    argv, options, message, number = FAILURES[case]
    if case == "cwd forbidden":
        driver.shell("mkdir -p -m 0700 /root/.closed")
    trees = driver.status()[1]
    with pytest.raises(GuestFailure) as raised:
        driver.start(argv, **options)  # type: ignore[arg-type]  # one dict for all cases
    assert raised.value.strerror and raised.value.strerror.startswith(message)
    # gVisor has another name for an argument over 128 KiB.
    assert raised.value.errno in ({number, errno.ENAMETOOLONG} if case == "too long" else {number})
    if case == "cwd forbidden":
        driver.remove("/root/.closed")
    assert driver.status()[:2] == (0, trees)


def test_a_script_without_interpreter_is_no_program(driver: Driver, scratch: str) -> None:
    driver.write_file(f"{scratch}/script", b"echo hi\n", 0o755)
    with pytest.raises(GuestFailure) as raised:
        driver.start([f"{scratch}/script"])
    assert raised.value.errno == errno.ENOEXEC
    driver.write_file(f"{scratch}/script", b"#!/bin/sh\necho hi\n", 0o755)
    assert driver.run(["script"], env={"PATH": f"/nowhere:{scratch}"}).stdout == b"hi\n"


def test_a_forbidden_program_in_path_does_not_hide_a_good_one(driver: Driver, scratch: str) -> None:
    driver.write_file(f"{scratch}/true", b"", 0o644)
    assert ending(driver.run(["true"], env={"PATH": f"{scratch}:/usr/bin"}).exit) == (False, 0, False)
    with pytest.raises(GuestFailure) as raised:
        driver.start(["true"], env={"PATH": f"{scratch}:/nowhere"})
    assert raised.value.errno == errno.EACCES


def test_exec_ids_are_unique_until_forgotten(driver: Driver) -> None:
    first = driver.start(["cat"], exec_id="same")
    with pytest.raises(GuestFailure) as raised:
        driver.start(["true"], exec_id="same")
    assert raised.value.errno == errno.EEXIST
    driver.send(EOF, first.stream)
    driver.wait(first)
    driver.run(["true"], exec_id="same")


def test_stdin_of_ten_megabytes_comes_back_whole(driver: Driver) -> None:
    data = bytes(range(256)) * (10 * 4096)
    process = driver.start(["cat"])
    driver.write_stdin(process, data)
    assert ending(driver.wait(process)) == (False, 0, False)
    assert process.stdout == data


def test_a_process_that_does_not_read_blocks_nobody(driver: Driver) -> None:
    sleeper = driver.start(["sleep", "1000"])
    driver.send(DATA, sleeper.stream, 0, 0, bytes(262_144))
    driver.ping()
    assert driver.shell("echo fine") == "fine\n"
    driver.signal(sleeper, signal.SIGTERM)
    assert ending(driver.wait(sleeper)) == (True, signal.SIGTERM, False)


def test_stdin_after_the_reader_closed_it_is_taken_and_dropped(driver: Driver) -> None:
    process = driver.start(["sh", "-c", "exec <&-; echo closed; sleep 0.3; echo alive"])
    driver.step(process)
    driver.write_stdin(process, bytes(1 << 20))
    assert ending(driver.wait(process)) == (False, 0, False)
    assert process.stdout == b"closed\nalive\n"


def test_stdin_may_be_null(driver: Driver) -> None:
    assert driver.run(["sh", "-c", "wc -c; readlink /proc/self/fd/0"], null_stdin=True).stdout.split()[0] == b"0"


def test_huge_output_through_a_tiny_window(driver: Driver) -> None:
    """Acknowledged a page at a time, nothing is lost, and never more is sent than allowed."""
    size = 1_500_000
    process = driver.start(["python3", "-c", f"import sys; sys.stdout.buffer.write(bytes(i % 251 for i in range({size})))"])
    allowed = 262_144
    while process.exit is None:
        frame = driver.receive(process.stream)
        if frame.kind == DATA:
            assert frame.offset == len(process.output[1]) and frame.offset + len(frame.payload) <= allowed
            process.output[1] += frame.payload
            allowed = max(allowed, len(process.output[1]) + 4096)
            driver.acknowledge(process.stream, 1, len(process.output[1]), 4096)
        elif frame.kind == EVENT:
            process.exit = Exit(False, 0, False, 0)
    driver.close(process.stream)
    assert process.stdout == bytes(i % 251 for i in range(size))


def test_an_unread_window_stops_the_process_but_no_other(driver: Driver) -> None:
    process = driver.start(["yes"])
    while len(process.output[1]) < 262_144:
        process.output[1] += driver.receive(process.stream).payload
    assert driver.shell("echo fine") == "fine\n"
    driver.signal(process, signal.SIGKILL)
    driver.acknowledge(process.stream, 1, 262_144)
    assert ending(driver.wait(process)) == (True, signal.SIGKILL, False)
    assert set(process.stdout) == set(b"y\n")


def test_output_written_just_before_the_end_arrives(driver: Driver) -> None:
    for _ in range(20):
        process = driver.run(["sh", "-c", "printf %065000d 1; printf %065000d 2 >&2"])
        assert (len(process.stdout), len(process.stderr)) == (65_000, 65_000)


def test_a_background_child_neither_blocks_nor_dies(driver: Driver, scratch: str) -> None:
    """It goes on writing into the pipes of a process that is over and forgotten."""
    trees = driver.status()[1]
    child = f"echo $$ > {scratch}/pid; while :; do seq 1 20000; echo $? >> {scratch}/rounds; done"
    driver.write_file(f"{scratch}/rounds", b"")
    process = driver.run(["sh", "-c", f"sh -c '{child}' & echo started"])
    assert b"started\n" in process.stdout and process.exit is not None and process.exit.succeeded
    for _ in range(3):
        before = len(driver.read_file(f"{scratch}/rounds"))
        driver.shell(f"while [ $(wc -c < {scratch}/rounds) -le {before} ]; do sleep 0.05; done")
    assert set(driver.read_file(f"{scratch}/rounds").split()) == {b"0"}
    assert driver.status()[1] == trees + 1
    driver.shell(f"kill -9 $(cat {scratch}/pid)")
    # What it had started last may take a moment.
    while driver.status()[1] != trees:
        driver.shell("true")


def test_a_tree_can_be_signalled_after_its_first_process_has_ended(driver: Driver) -> None:
    trees = driver.status()[1]
    process = driver.start(["sh", "-c", "sleep 3333 & echo $!"])
    while process.exit is None:
        driver.step(process)
    pid = int(process.stdout)
    driver.shell(f"test -e /proc/{pid}")
    driver.signal(process, signal.SIGKILL, tree=True)
    driver.shell(f"while test -e /proc/{pid}; do sleep 0.01; done")
    driver.close(process.stream)
    driver.shell("true")
    assert driver.status()[:2] == (0, trees)


def test_a_timeout_kills_the_whole_tree_and_keeps_the_output(driver: Driver) -> None:
    double_fork = "import os,time; os.fork() or (os.setsid(), os.fork() or time.sleep(1111))"
    script = f"echo partial; (setsid sh -c 'sleep 1111 & sleep 1111') & python3 -c '{double_fork}'; wait"
    process = driver.start(["sh", "-c", script], timeout_ms=600)
    assert ending(driver.wait(process)) == (True, signal.SIGKILL, True)
    assert process.stdout == b"partial\n"
    assert "1111" not in driver.shell("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | sed 's/[c]at.*//'; true")


def test_closing_a_running_process_kills_its_tree(driver: Driver) -> None:
    process = driver.start(["sh", "-c", "setsid sleep 2222 & sleep 2222"])
    driver.close(process.stream)
    driver.shell("while cat /proc/[0-9]*/cmdline 2>/dev/null | grep -aq 'sleep.222[2]'; do sleep 0.02; done")
    assert driver.status()[0] == 0


def test_signals_reach_the_process_or_the_tree(driver: Driver) -> None:
    script = "trap 'echo caught' TERM; (trap 'echo child' TERM; echo ready; while :; do sleep 0.05; done) & while :; do sleep 0.05; done"
    process = driver.start(["sh", "-c", script])
    while process.stdout != b"ready\n":
        driver.step(process)
    driver.signal(process, signal.SIGTERM)
    while b"caught" not in process.stdout:
        driver.step(process)
    assert b"child" not in process.stdout
    driver.signal(process, signal.SIGTERM, tree=True)
    while process.stdout.count(b"caught") < 2 or b"child" not in process.stdout:
        driver.step(process)
    driver.signal(process, signal.SIGKILL, tree=True)
    assert ending(driver.wait(process)) == (True, signal.SIGKILL, False)


def test_nonsense_control_frames_do_no_harm(driver: Driver, guest: LaunchedGuest) -> None:
    process = driver.start(["cat"])
    driver.send(CONTROL, process.stream, 99, payload=b"x")
    driver.send(CONTROL, process.stream, 1, payload=b"")
    driver.signal(process, 200)
    driver.ping()
    guest.forgive(3)
    driver.send(EOF, process.stream)
    driver.wait(process)


def test_a_fork_bomb_stays_within_its_limit(driver: Driver) -> None:
    bomb = """
import os, signal, sys, time
started = 0
while True:
    try:
        if os.fork() == 0:
            os.setsid()
        else:
            started += 1
    except BlockingIOError:
        if os.getsid(0) == os.getpid() and started:
            os.write(1, b"%d\\n" % started)
        time.sleep(0.05)
"""
    process = driver.start(["python3", "-S", "-c", bomb], max_tasks=30)
    while not process.stdout:
        driver.step(process)
    assert driver.shell("echo fine") == "fine\n"
    driver.signal(process, signal.SIGKILL, tree=True)
    assert ending(driver.wait(process)) == (True, signal.SIGKILL, False)
    assert max(int(count) for count in process.stdout.split()) < 30
    assert driver.status()[0] == 0


def test_a_shell_fork_bomb_ends_at_its_timeout(driver: Driver) -> None:
    process = driver.start(["sh", "-c", "bomb() { bomb | bomb & }; bomb; sleep 1111"], max_tasks=50, timeout_ms=700)
    assert driver.shell("echo fine") == "fine\n"
    assert ending(driver.wait(process)) == (True, signal.SIGKILL, True)


@pytest.mark.timeout(120)
def test_a_thousand_short_processes_leave_nothing(driver: Driver) -> None:
    def held() -> tuple[int, str]:
        zombies = driver.shell("grep -sl '^State:.Z' /proc/[0-9]*/status | wc -l")
        return int(driver.shell("ls /proc/1/fd | wc -l")), zombies.strip()

    driver.run(["true"])
    before, trees = held(), driver.status()[1]
    for _ in range(1000):
        driver.run(["true"], env={"HOME": "/", "USER": "r", "LOGNAME": "r"})
    assert held() == before
    assert driver.status() == (0, trees, 0, 0)


def test_many_at_a_time(driver: Driver) -> None:
    processes = [driver.start(["sh", "-c", f"echo {number}; cat"]) for number in range(50)]
    for process in processes:
        driver.send(EOF, process.stream)
    for number, process in enumerate(processes):
        driver.wait(process)
        assert process.stdout == b"%d\n" % number


def test_a_malformed_request_fails_alone(driver: Driver) -> None:
    for payload in [
        b"",
        b"\xff" * 40,
        text("e") + list_([]) + map_({}) + text("/") + text("") + struct.pack("<BHHQI", 0, 0, 0, 0, 0) + b"x",
    ]:
        stream = driver.open(PROCESS, payload)
        frame = driver.receive(stream)
        assert frame.kind == REPLY and frame.payload[0] == errno.EINVAL

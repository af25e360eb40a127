"""Dead processes whose parents are gone are collected, and nobody else's."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

DAEMON: Final = """
import os, signal, subprocess, sys, time
from pathlib import Path

from sandboxd import orphans


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


def until(pid, wanted):
    deadline = time.monotonic() + 10
    while state(pid) != wanted:
        assert time.monotonic() < deadline, state(pid)
        time.sleep(0.001)


def abandoned():
    '''The pid of a program that sleeps, in a session of its own, whose parent has exited.'''
    pid = int(subprocess.run(["sh", "-c", "setsid sleep 600 >&2 & echo $!"], stdout=subprocess.PIPE, check=True).stdout)
    while os.getsid(pid) != pid:
        time.sleep(0.001)
    return pid


def dead():
    pid = abandoned()
    os.kill(pid, signal.SIGKILL)
    until(pid, "Z")
    return pid


orphans.adopt()
"""
"""Has a process of its own: who adopts orphans adopts those of all that run below it."""


def run(script: str) -> None:
    finished = subprocess.run([sys.executable, "-c", DAEMON + script], capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr


def test_orphans_are_adopted_and_collected_when_they_die() -> None:
    run("""
alive, died = abandoned(), dead()
orphans.collect()
assert (state(died), state(alive)) == ("gone", "S")
os.kill(alive, signal.SIGKILL)
until(alive, "Z")
orphans.collect()
assert state(alive) == "gone"
""")


def test_what_a_program_leaves_behind_in_its_session_is_collected() -> None:
    run("""
import asyncio
from sandboxd import programs
left = int(asyncio.run(programs.capture(["sh", "-c", "sleep 600 >&2 & echo $!"], timeout_s=10)).stdout)
os.kill(left, signal.SIGKILL)
until(left, "Z")
orphans.collect()
assert state(left) == "gone"
""")


def test_what_another_waits_for_is_left_to_it() -> None:
    run("""
for options in ({}, {"process_group": 0}):
    own = subprocess.Popen(["sh", "-c", "exit 7"], **options)
    until(own.pid, "Z")
    orphans.collect()
    assert state(own.pid) == "Z" and own.wait() == 7
""")


def test_several_collect_at_once() -> None:
    run("""
from concurrent.futures import ThreadPoolExecutor
died = [dead() for _ in range(20)]
with ThreadPoolExecutor(8) as pool:
    for done in [pool.submit(orphans.collect) for _ in range(8)]:
        done.result()
assert {state(pid) for pid in died} == {"gone"}
""")

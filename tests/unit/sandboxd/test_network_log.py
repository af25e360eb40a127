"""A sandbox's egress log: counted by kind, bounded, read from cursors, kept over restarts of the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxd.network_log import MAX_LINES, MAX_RECORDS, NetworkLog, Record


def attempt(address: str = "192.0.2.1", *, allowed: bool = False, **changes: object) -> Record:
    fields = {"protocol": "tcp", "port": 80, "name": "", "rule": "not_listed", **changes}
    return Record(allowed=allowed, address=address, **fields)  # type: ignore[arg-type]  # of many types


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "network.log"


def make(path: Path) -> NetworkLog:
    ticks = iter(range(1, 1_000_000))
    return NetworkLog(path, clock=lambda: float(next(ticks)))


def shown(log: NetworkLog) -> list[tuple[int, str, int, float, float]]:
    return [(record.cursor, record.address, record.count, record.first_at, record.last_at) for record in log]


def test_attempts_of_one_kind_are_one_record(path: Path) -> None:
    log = make(path)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        log.add(attempt(address))
    assert shown(log) == [(2, "192.0.2.2", 1, 2.0, 2.0), (3, "192.0.2.1", 2, 1.0, 3.0)]
    assert (log.totals.allowed, log.totals.denied) == (0, 3)


@pytest.mark.parametrize(
    "changes", [{"allowed": True}, {"port": 81}, {"protocol": "udp"}, {"name": "a.example"}, {"rule": "private"}, {"address": "192.0.2.2"}]
)
def test_other_kinds_are_other_records(path: Path, changes: dict[str, object]) -> None:
    log = make(path)
    log.add(attempt())
    log.add(attempt(**changes))  # type: ignore[arg-type]  # of many types
    assert len(list(log)) == 2


def test_a_cursor_gives_what_changed_since(path: Path) -> None:
    log = make(path)
    for number in range(5):
        log.add(attempt(f"192.0.2.{number}"))
    seen = log.after(0, 3)
    assert [record.address for record in seen] == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    log.add(attempt("192.0.2.0"))
    assert [(record.address, record.count) for record in log.after(seen[-1].cursor, 99)] == [
        ("192.0.2.3", 1),
        ("192.0.2.4", 1),
        ("192.0.2.0", 2),
    ]
    assert log.after(log.cursor, 99) == []


def test_a_scan_is_bounded_and_what_is_forgotten_is_counted(path: Path) -> None:
    log = make(path)
    for number in range(MAX_RECORDS + 10):
        log.add(attempt(port=number))
    assert len(list(log)) == MAX_RECORDS
    assert log.totals.forgotten == 10
    assert next(iter(log)).port == 10


def test_a_restart_goes_on(path: Path) -> None:
    log = make(path)
    for number in (1, 2, 1):
        log.add(attempt(f"192.0.2.{number}"))
        log.flush()
    again = make(path)
    assert shown(again) == shown(log)
    again.add(attempt("192.0.2.2"))
    assert [record.count for record in again.after(3, 9)] == [2]


def test_the_file_is_bounded(path: Path) -> None:
    log = make(path)
    for number in range(MAX_LINES + 100):
        log.add(attempt(port=number % 3))
        log.flush()
    assert path.read_bytes().count(b"\n") <= MAX_LINES
    assert shown(make(path)) == shown(log)


@given(st.binary(max_size=200))
def test_a_damaged_file_loses_its_damaged_lines_alone(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "network.log"
    log = make(path)
    log.add(attempt("192.0.2.9"))
    log.flush()
    path.write_bytes(path.read_bytes() + b"\n" + garbage)
    assert "192.0.2.9" in [record.address for record in make(path)]


def test_nothing_is_written_where_nothing_happened(path: Path) -> None:
    make(path).flush()
    assert not path.exists()


def test_a_full_disk_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = make(path)
    log.add(attempt())
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(Path, "open", lambda *args: (_ for _ in ()).throw(OSError(28, "full")))
        log.flush()
    log.flush()
    assert shown(make(path)) == shown(log)


async def test_followers_hear_of_each_change_and_of_the_end(path: Path) -> None:
    log = make(path)
    log.add(attempt("192.0.2.1"))
    heard: list[tuple[str, int]] = []

    async def listen() -> None:
        async for records in log.follow(0, 10):
            heard.extend((record.address, record.count) for record in records)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0)
    log.add(attempt("192.0.2.2"))
    await asyncio.sleep(0)
    log.add(attempt("192.0.2.1"))
    log.end()
    await listener
    assert heard[0] == ("192.0.2.1", 1)
    assert ("192.0.2.2", 1) in heard
    assert heard[-1] == ("192.0.2.1", 2)


def test_the_smallest_list_is_by_name_where_there_is_one(path: Path) -> None:
    log = make(path)
    for address, name in (("192.0.2.1", "b.example"), ("192.0.2.1", "A.example"), ("192.0.2.4", ""), ("192.0.2.5", "")):
        log.add(attempt(address, allowed=True, name=name))
    log.add(attempt("192.0.2.9"))
    log.add(attempt("", allowed=True, name="asked.example", protocol="dns"))
    needed = log.allowlist()
    assert (needed.cidrs, needed.domains) == (("192.0.2.4/31",), ("a.example", "b.example"))

"""What a sandbox's /proc says of itself: honest text is understood, everything else is refused, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandboxd.memory.seen import MAX_PROGRAM, Protocol, SeenChild, SeenPort, parse_sockets, parse_stat

NUMBERS = b" 1 2 2 0 0 0 0 0 0 0 11 11 0 0 20 0 1 0 12 24092672 4248 18446744073709551615 0 -1 0"
HEADING = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode       \n"
HEADING6 = b"  sl  local_address                         remote_address                        st tx_queue rx_queue tr inode\n"
REST = b" 00000000:00000000 00:00000000 00000000     0        0        2 2 0000000000000000 0 0 0 0 -1\n"


def line(text: str) -> bytes:
    return text.encode() + REST


def test_a_process_is_seen() -> None:
    assert parse_stat(b"13 (python3) S" + NUMBERS + b"\n") == SeenChild(pid=13, parent_pid=1, program="python3")


@pytest.mark.parametrize("name", [b"", b")", b"a) R 7 7", b"(", b" ", b"\n", b"\xff\xfe", b"x" * 64])
def test_programs_call_themselves_what_they_like(name: bytes) -> None:
    seen = parse_stat(b"13 (" + name + b") S" + NUMBERS)
    assert seen is not None
    assert (seen.pid, seen.parent_pid, seen.program) == (13, 1, name.decode("utf-8", "replace"))


@pytest.mark.parametrize("state", [b"Z", b"X"])
def test_what_has_ended_is_not_there(state: bytes) -> None:
    assert parse_stat(b"13 (sh) " + state + NUMBERS) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"13",
        b"13 (sh) S 1",
        b"0 (sh) S" + NUMBERS,
        b"-1 (sh) S" + NUMBERS,
        b"9999999999 (sh) S" + NUMBERS,
        b"13 (sh) S 9999999999" + NUMBERS,
        b"13 (" + b"x" * 65 + b") S" + NUMBERS,
        b"13 (sh) S" + NUMBERS + b" x",
        b"13 (sh) S" + NUMBERS + b"\n\n",
        b"13 (sh) S" + b" 1" * 100,
    ],
)
def test_a_stat_that_no_kernel_writes_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_stat(text)


@given(st.binary(max_size=300) | st.builds(lambda a, b: b"1 (" + a + b") S" + b, st.binary(max_size=80), st.binary(max_size=100)))
@example(b"1 (" + b")" * 64 + b" S")
def test_no_stat_does_harm(text: bytes) -> None:
    try:
        seen = parse_stat(text)
    except ValueError:
        return
    assert seen is None or (0 < seen.pid < 2**31 and 0 <= seen.parent_pid < 2**31 and len(seen.program) <= MAX_PROGRAM)


@pytest.mark.parametrize(
    ("protocol", "table", "expected"),
    [
        ("tcp", line("   1: 0100007F:1F41 00000000:0000 0A"), {("127.0.0.1", 8001)}),
        ("tcp", line("  10: 00000000:1F42 00000000:0000 0A"), {("0.0.0.0", 8002)}),
        ("tcp", line("   1: 0100007F:1F41 0100007F:1234 01"), set()),  # connected
        ("tcp", line("   1: 0100007F:1F41 00000000:0000 07"), set()),  # bound only
        ("udp", line("   6: 0100007F:2329 00000000:0000 07"), {("127.0.0.1", 9001)}),
        ("udp", line("   6: 0100007F:2329 0100007F:0001 01"), set()),
        ("udp", line("   6: 00000000:0000 00000000:0000 07"), set()),  # not bound
        ("udp", line("   6: 0100007F:2329 00000000:0000 0A"), set()),
        ("tcp", b"", set()),
    ],
)
def test_what_waits_for_others_is_seen(protocol: Protocol, table: bytes, expected: set[tuple[str, int]]) -> None:
    assert parse_sockets(HEADING + table, protocol) == {SeenPort(protocol=protocol, address=a, port=p) for a, p in expected}


def test_addresses_of_ipv6_are_seen() -> None:
    table = HEADING6 + line(f"   3: {'0' * 32}:1F43 {'0' * 32}:0000 0A") + line(f"   4: {'0' * 24}01000000:1F44 {'0' * 32}:0000 0A")
    assert {(seen.address, seen.port) for seen in parse_sockets(table, "tcp")} == {("::", 8003), ("::1", 8004)}
    assert parse_sockets(HEADING6, "udp") == frozenset()


def test_two_that_share_a_port_are_one() -> None:
    assert len(parse_sockets(HEADING + 2 * line("   1: 0100007F:1F41 00000000:0000 0A"), "tcp")) == 1


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"\n",
        line("   1: 0100007F:1F41 00000000:0000 0A"),
        HEADING + b"\n",
        HEADING + b"   1: 0100007F:1F41 00000000:0000 0A",
        HEADING + line("   1: 0100007f:1F41 00000000:0000 0A"),
        HEADING + line("   1: 0100007F:11F41 00000000:0000 0A"),
        HEADING + line(f"   1: 0100007F:1F41 {'0' * 32}:0000 0A"),
        HEADING + line("   1: 0100007F:1F41 00000000:0000 0A").replace(b"-1", b"\x1b["),
        HEADING + line("   1: 0100007F:1F41 00000000:0000 0A").rstrip(b"\n") + b"\0\n",
    ],
)
def test_a_table_that_no_kernel_writes_is_refused(table: bytes) -> None:
    with pytest.raises(ValueError):
        parse_sockets(table, "tcp")


@given(st.binary(max_size=300), st.sampled_from(("tcp", "udp")))
def test_no_table_does_harm(text: bytes, protocol: Protocol) -> None:
    for table in (text, HEADING + text):
        try:
            seen = parse_sockets(table, protocol)
        except ValueError:
            continue
        assert all(0 < one.port < 2**16 for one in seen)

"""Which nameservers are asked."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxd.egress.dns.nameservers import MAX_NAMESERVERS, HostNameservers, parse_nameservers
from sandboxd.egress.dns.upstream import Server


def test_those_of_a_resolv_conf() -> None:
    text = """
        # nameserver 9.9.9.9
        search corp.example
        nameserver 127.0.0.53
        nameserver  10.1.2.3   # ours
        nameserver 10.1.2.3
        nameserver
        nameserver not-an-address
        nameserver 2001:db8::1
        nameserver 2.2.2.2
    """
    assert parse_nameservers(text) == (Server("127.0.0.53"), Server("10.1.2.3"), Server("2001:db8::1"))


@settings(deadline=None)  # a busy machine
@given(st.text())
def test_any_resolv_conf_can_be_read(text: str) -> None:
    assert len(parse_nameservers(text)) <= MAX_NAMESERVERS


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    servers = HostNameservers(path)
    assert servers() == ()
    path.write_text("nameserver 10.1.1.1\n")
    assert servers() == (Server("10.1.1.1"),)
    path.write_text("nameserver 10.1.1.2\n")
    os.utime(path, ns=(1, 1))  # two writes can fall into one tick of the file system's clock
    assert servers() == (Server("10.1.1.2"),)
    fresh = tmp_path / "fresh"
    fresh.write_text("nameserver 10.1.1.3\n")
    fresh.replace(path)
    assert servers() == (Server("10.1.1.3"),)
    path.unlink()
    assert servers() == ()

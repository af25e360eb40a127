"""Egress policies of real sandboxes, through the SDK."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from pip._internal.models.index import PyPI

import cove
from cove.exception import ConflictError, InvalidError
from tests.support.live_fixtures import Sandboxes
from tests.support.neighbour import Neighbour, echoing, neighbour

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runsc, pytest.mark.timeout(120)]

CONNECT = """
import socket, sys, time
started = time.monotonic()
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()
    outcome = "connected"
except OSError as error:
    outcome = type(error).__name__
print(outcome, time.monotonic() - started < 1)
"""
HOLD = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30)
for line in sys.stdin:
    try:
        connection.sendall(line.encode())
        print(connection.recv(100).decode(), end="", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
        break
"""
FETCH = """
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=20).status)
except urllib.error.URLError as error:
    print(type(error.reason).__name__)
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Neighbour, int]]:
    with neighbour(tmp_path_factory.mktemp("outside")) as there, echoing(there) as port:
        yield there, port


def index_page() -> str:
    """A page of the package index that this machine uses; skips the test where it reaches none."""
    page = PyPI.simple_url + "/pip/"
    try:
        urllib.request.urlopen(page, timeout=10).close()
    except (urllib.error.URLError, TimeoutError) as error:
        pytest.skip(f"this machine does not reach the package index: {error}")
    return page


def connect(sandbox: cove.Sandbox, address: str, port: int) -> str:
    return sandbox.exec("python3", "-c", CONNECT, address, str(port)).stdout.read().strip()


def denied(sandbox: cove.Sandbox, **wanted: object) -> list[cove.types.NetworkRecord]:
    """Records of refusals that have these values; they come some milliseconds after the refusal."""
    deadline = time.monotonic() + 5
    while True:
        records = [record for record in sandbox.network_log() if record.event == "egress_denied"]
        found = [record for record in records if all(getattr(record, name) == value for name, value in wanted.items())]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def test_a_list_a_refusal_and_why(sandboxes: Sandboxes, outside: tuple[Neighbour, int]) -> None:
    there, port = outside
    sandbox = sandboxes.create(block_network=False, cidr_allowlist=[there.address])
    assert connect(sandbox, there.address, port) == "connected True"
    assert connect(sandbox, there.other, port) == "ConnectionRefusedError True"
    (record,) = denied(sandbox, address=there.other)
    assert (record.protocol, record.port, record.rule) == ("tcp", port, "not_listed")
    assert record.remedy == f'cidr_allowlist=["{there.other}/32"]'
    (allowed,) = [one for one in sandbox.network_log() if one.event == "egress_allowed"]
    assert (allowed.address, allowed.port, allowed.rule) == (there.address, port, "cidr")
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    assert {one.event for one in sandbox.network_log(follow=True)} == {"egress_allowed", "egress_denied"}


def test_a_policy_changes_under_a_connection(sandboxes: Sandboxes, outside: tuple[Neighbour, int]) -> None:
    there, port = outside
    sandbox = sandboxes.create(block_network=False)
    held = sandbox.exec("python3", "-c", HOLD, there.address, str(port))
    lines = iter(held.stdout)
    held.stdin.write("one\n")
    held.stdin.drain()
    assert next(lines) == "one\n"
    sandbox.update_network(cidr_allowlist=[f"{there.address}/32"])
    held.stdin.write("two\n")
    held.stdin.drain()
    assert next(lines) == "two\n"
    sandbox.update_network(cidr_allowlist=[f"{there.other}/32"])
    held.stdin.write("three\n")
    held.stdin.drain()
    assert next(lines) == "ConnectionResetError\n"
    assert connect(sandbox, there.address, port) == "ConnectionRefusedError True"
    sandbox.update_network(block_network=True)
    assert connect(sandbox, there.other, port) == "ConnectionRefusedError True"
    sandbox.update_network()
    assert connect(sandbox, there.other, port) == "connected True"


def test_a_record_becomes_an_allowlist(sandboxes: Sandboxes, outside: tuple[Neighbour, int]) -> None:
    there, port = outside
    sandbox = sandboxes.create(block_network=False, record_network=True)
    assert connect(sandbox, there.address, port) == "connected True"
    deadline = time.monotonic() + 5
    while not (summary := sandbox.network_summary()).used_cidrs and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (summary.mode, summary.used_cidrs, summary.used_domains) == ("record", [f"{there.address}/32"], [])
    sandbox.update_network(cidr_allowlist=summary.used_cidrs, domain_allowlist=summary.used_domains or None)
    assert connect(sandbox, there.address, port) == "connected True"
    assert connect(sandbox, there.other, port) == "ConnectionRefusedError True"


@pytest.mark.parametrize(
    ("options", "entry"),
    [({"cidr_allowlist": ["10.0.0.1/8"]}, r"10\.0\.0\.1/8"), ({"domain_allowlist": ["a.example", "https://b.example"]}, "https://b")],
)
def test_malformed_entries_are_named(sandboxes: Sandboxes, options: dict[str, list[str]], entry: str) -> None:
    with pytest.raises(InvalidError, match=entry):
        sandboxes.create(block_network=False, **options)


def test_contradictions_are_refused(sandboxes: Sandboxes) -> None:
    with pytest.raises(InvalidError, match="contradict"):
        sandboxes.create(block_network=True, cidr_allowlist=["192.0.2.0/24"])


def test_a_sandbox_without_a_network_gets_none_later(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    with pytest.raises(ConflictError, match="without a network"):
        sandbox.update_network()


def test_a_name_leads_to_its_addresses_and_no_other_name_anywhere(sandboxes: Sandboxes, outside: tuple[Neighbour, int]) -> None:
    """By the real resolver and relay, to the package index that this machine uses."""
    page = index_page()
    there, port = outside
    name = urlsplit(page).hostname
    sandbox = sandboxes.create(block_network=False, domain_allowlist=[str(name)])
    sandbox.upload("/etc/ssl/certs/ca-certificates.crt", "/tmp/ca.crt")
    fetched = sandbox.exec("python3", "-c", FETCH, page, env={"SSL_CERT_FILE": "/tmp/ca.crt"}).stdout.read().strip()
    assert fetched == "200", denied(sandbox)
    assert [record.rule for record in sandbox.network_log() if record.event == "egress_allowed" and record.protocol == "tcp"] == ["domain"]
    assert sandbox.network_summary().used_domains == [name]
    refused = sandbox.exec("python3", "-c", FETCH, "http://elsewhere.example/").stdout.read().strip()
    assert refused == "gaierror"
    (record,) = denied(sandbox, protocol="dns", name="elsewhere.example")
    assert "domain_allowlist" in record.remedy and "elsewhere.example" in record.remedy
    assert connect(sandbox, there.address, port) == "ConnectionRefusedError True"


def test_names_that_were_recorded_are_a_list_that_works(sandboxes: Sandboxes) -> None:
    """What a name led to before it was listed can be reached by it afterwards, too."""
    page = index_page()
    sandbox = sandboxes.create(block_network=False, record_network=True)
    sandbox.upload("/etc/ssl/certs/ca-certificates.crt", "/tmp/ca.crt")

    def fetch() -> str:
        return sandbox.exec("python3", "-c", FETCH, page, env={"SSL_CERT_FILE": "/tmp/ca.crt"}).stdout.read().strip()

    assert fetch() == "200"
    deadline = time.monotonic() + 5
    while not (used := sandbox.network_summary().used_domains) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert used == [urlsplit(page).hostname]
    sandbox.update_network(domain_allowlist=used)
    assert fetch() == "200", denied(sandbox)

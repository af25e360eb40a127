"""What a program in a real sandbox with a network can reach, and how fast it learns what it cannot."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from pip._internal.models.index import PyPI

from cove.types import SandboxId, new_id
from policies.egress import EgressPolicy
from sandboxd import kernel
from sandboxd.egress.dns.nameservers import HostNameservers
from sandboxd.network import NetworkManager, NetworkOptions, SandboxNetwork
from tests.support import plain_runsc

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runsc]

REFUSED_WITHIN_MS = 100

PROBE = """
import json, socket, ssl, sys, time, urllib.request
request = json.loads(sys.argv[1])
answers = {}
for name, (kind, host, port) in request["targets"].items():
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect((host, port))
            if kind == "udp":
                probe.send(b"x")
                probe.recv(1)
            outcome = "reached"
        except TimeoutError:
            outcome = "timed out"
        except OSError as error:
            outcome = "refused"
        answers[name] = [outcome, (time.monotonic() - began) * 1000]
for url in request["pages"]:
    context = ssl.create_default_context(cafile=request["cafile"])
    with urllib.request.urlopen(url, timeout=15, context=context) as page:
        answers[url] = [page.status, len(page.read(1 << 16))]
print(json.dumps(answers))
"""


@pytest.fixture
def manager(instance: str, tmp_path: Path) -> Iterator[NetworkManager]:
    nameservers = [IPv4Network(server.host) for server in HostNameservers()() if ":" not in server.host]
    options = NetworkOptions(pool="10.214.0.0/24", exceptions=tuple(nameservers))
    networks = NetworkManager.open(instance, tmp_path / "run", options)
    yield networks
    for sandbox in networks.list_():
        networks.detach(sandbox)
    networks.close()


def probe(network: SandboxNetwork, prefix: list[str], directory: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """What PROBE finds in a sandbox on ``network``."""
    argv = ["/usr/bin/env", "python3", "-c", PROBE, json.dumps(request)]
    return dict(json.loads(plain_runsc.run(argv, directory, netns=network.netns_path, prefix=prefix)))


@contextlib.contextmanager
def listening(*addresses: str) -> Iterator[list[int]]:
    """TCP listeners; yields their ports."""
    with contextlib.ExitStack() as stack:
        ports = []
        for address in addresses:
            listener = stack.enter_context(socket.create_server((address, 0)))
            ports.append(listener.getsockname()[1])
        yield ports


def host_address() -> str:
    """The address of the interface that the default route uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])


def test_nothing_of_the_host_or_other_sandboxes_can_be_reached(manager: NetworkManager, tmp_path: Path, sandbox_id: SandboxId) -> None:
    network = manager.attach(sandbox_id, EgressPolicy())
    neighbour = manager.attach(SandboxId(new_id("sb")), EgressPolicy())
    with kernel.in_netns(neighbour.netns_path):
        theirs = socket.create_server((neighbour.address, 0))
    with theirs, listening(network.gateway, "0.0.0.0", host_address(), neighbour.gateway) as (on_gateway, anywhere, on_host, on_other):
        targets: dict[str, tuple[str, str, int]] = {
            "gateway": ("tcp", network.gateway, on_gateway),
            "any, by gateway": ("tcp", network.gateway, anywhere),
            "any, by host address": ("tcp", host_address(), anywhere),
            "host address": ("tcp", host_address(), on_host),
            "closed port of the host": ("tcp", host_address(), 1),
            "neighbour": ("tcp", neighbour.address, theirs.getsockname()[1]),
            "neighbour's gateway": ("tcp", neighbour.gateway, on_other),
            "unused address of the pool": ("tcp", "10.214.0.200", 80),
            "metadata": ("tcp", "169.254.169.254", 80),
            "carrier NAT metadata": ("tcp", "100.100.100.200", 80),
            "private": ("tcp", "192.168.1.1", 80),
            "gateway, udp": ("udp", network.gateway, 5353),
            "metadata, udp": ("udp", "169.254.169.254", 53),
            "private, udp": ("udp", "10.0.0.1", 53),
        }
        prefix = manager.start_prefix(network.netns_path)
        answers = probe(network, prefix, tmp_path / "bundle", {"targets": targets, "pages": []})
    assert {name: outcome for name, (outcome, _) in answers.items()} == dict.fromkeys(targets, "refused")
    slow = {name: took_ms for name, (_, took_ms) in answers.items() if took_ms >= REFUSED_WITHIN_MS}
    assert slow == {}
    denied = manager.denied()
    assert all(denied[kind] > 0 for kind in ("host", "sandbox", "link_local", "private")), denied


def test_the_internet_can_be_reached_by_name(manager: NetworkManager, tmp_path: Path, sandbox_id: SandboxId) -> None:
    page = PyPI.simple_url + "/pip/"
    cafile = "/etc/ssl/certs/ca-certificates.crt"
    try:
        urllib.request.urlopen(page, timeout=10).close()
    except (urllib.error.URLError, TimeoutError) as error:
        pytest.skip(f"this machine does not reach the package index: {error}")
    network = manager.attach(sandbox_id, EgressPolicy())
    request = {"targets": {}, "pages": [page], "cafile": cafile}
    answers = probe(network, manager.start_prefix(network.netns_path), tmp_path / "bundle", request)
    status, size_bytes = answers[page]
    assert status == 200
    assert size_bytes > 1000

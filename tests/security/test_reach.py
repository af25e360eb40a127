"""From inside neither daemons nor the host, metadata services or other sandboxes can be reached; every attempt is refused at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest

import cove
from tests.security.host import addresses, cove_pids, tcp_ports, unix_sockets
from tests.security.probe import inside
from tests.support.live_cove import POOLS, LiveCove
from tests.support.live_fixtures import Sandboxes

AT_ONCE_S: Final = 1.0
"""An attempt that takes longer was dropped, not refused."""

METADATA: Final = ("169.254.169.254", "169.254.170.2", "169.254.0.1", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "fe80::1")


@pytest.fixture(scope="module", params=["blocked", "open"])
def sandbox(request: pytest.FixtureRequest, app: cove.App) -> Iterator[cove.Sandbox]:
    """A sandbox without and one with a network."""
    made = cove.Sandbox.create(app=app, block_network=request.param == "blocked", timeout=600)
    made.exec("true").wait()  # it is up: what it holds is there before the tests begin
    yield made
    made.terminate()
    made.wait(raise_on_termination=False)


def connect(targets: list[list[Any]], at_once_s: float) -> dict[str, list[str]]:
    """TCP and UDP to each (address, port). Returns: those that answered, and those not refused at once."""
    import concurrent.futures
    import socket
    import time

    def attempt(address: str, port: int, kind: int) -> str:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        begin = time.monotonic()
        with socket.socket(family, kind) as one:
            one.settimeout(3 * at_once_s)
            try:
                one.connect((address, port))
                if kind == socket.SOCK_DGRAM:
                    one.send(b"\x00" * 32)
                    one.recv(1)
                return "reached"
            except OSError:
                pass
        return "refused" if time.monotonic() - begin < at_once_s else "slow"

    result: dict[str, list[str]] = {"reached": [], "slow": []}
    kinds = [(*target, kind) for target in targets for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for (address, port, kind), outcome in zip(kinds, pool.map(lambda one: attempt(*one), kinds), strict=True):
            if outcome != "refused":
                result[outcome].append(f"{address}:{port}/{'tcp' if kind == socket.SOCK_STREAM else 'udp'}")
    return result


def assert_refused(outcome: dict[str, list[str]]) -> None:
    """Nothing was reached, and TCP learnt so at once. UDP may have to wait: the host limits how many ICMP errors it sends a second."""
    assert outcome["reached"] == []
    assert [target for target in outcome["slow"] if target.endswith("/tcp")] == []


def is_of_another(live: LiveCove, address: str) -> bool:
    """Whether the address is another test instance's, which comes and goes, and refuses or not as far as it has come."""
    octets = address.split(".")
    return octets[0] == "10" and int(octets[1]) in POOLS and not live.network.startswith(f"10.{octets[1]}.")


def own_addresses() -> list[str]:
    import socket

    return [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]


@pytest.fixture
def host_port() -> Iterator[int]:
    """A port on which the host answers on every address: what shall be unreachable is there."""
    with socket.create_server(("", 0), backlog=64) as server:
        yield server.getsockname()[1]


def test_ports_of_the_daemons_and_of_the_host(live: LiveCove, sandbox: cove.Sandbox, host_port: int) -> None:
    known = {live.router_port, live.router_http_port, live.node_port, live.node_http_port}
    ports = {port for pid in cove_pids(live) for port in tcp_ports(pid)}
    assert ports >= known
    host = [address for address in addresses() if not is_of_another(live, address)]
    for address in host:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if family == socket.AF_INET:
            socket.create_connection((address, host_port), timeout=5).close()
    always = {"0.0.0.0", "127.0.0.1", "::1"}
    targets = [[address, port] for address in {*host, *always} for port in sorted({*ports, host_port, 22})]
    outcome = inside(sandbox, connect, targets, AT_ONCE_S)
    there = {*addresses(), *always}  # links of sandboxes come and go, and their addresses with them
    outcome["slow"] = [target for target in outcome["slow"] if target.rpartition(":")[0] in there]
    assert_refused(outcome)


def gateway() -> str | None:
    """The default route's address."""
    import socket
    import struct

    with open("/proc/net/route") as table:
        for line in table.read().splitlines()[1:]:
            fields = line.split()
            if fields[1] == "00000000":
                return socket.inet_ntoa(struct.pack("<I", int(fields[2], 16)))
    return None


def test_the_gateway(live: LiveCove, sandboxes: Sandboxes, host_port: int) -> None:
    sandbox = sandboxes.create(block_network=False)
    address = inside(sandbox, own_addresses)[-1]
    assert address.startswith("10.")
    last = int(address.rpartition(".")[2])
    neighbours = [f"{address.rpartition('.')[0]}.{byte}" for byte in (last - 2, last - 1, last + 1) if 0 <= byte <= 255]
    ends = sorted(set(neighbours) & set(addresses()))
    assert ends, "the host's end of the link is among them"
    targets = [[near, port] for near in ends for port in (host_port, live.node_port, live.router_port, 22, 53, 80)]
    assert_refused(inside(sandbox, connect, targets, AT_ONCE_S))


def test_metadata_services(sandbox: cove.Sandbox) -> None:
    assert_refused(inside(sandbox, connect, [[address, port] for address in METADATA for port in (80, 443)], AT_ONCE_S))


def test_another_sandbox(sandboxes: Sandboxes) -> None:
    server, attacker = sandboxes.create(block_network=False), sandboxes.create(block_network=False)
    serving = server.exec("python3", "-u", "-m", "http.server", "8000", "--bind", "0.0.0.0")
    assert "Serving" in next(iter(serving.stdout))
    address = inside(server, own_addresses)[-1]
    assert inside(server, connect, [[address, 8000]], AT_ONCE_S)["reached"] == [f"{address}:8000/tcp"], "the server is up"
    targets = [[address, 8000], [address, 22], ["127.0.0.1", 8000]]
    assert_refused(inside(attacker, connect, targets, AT_ONCE_S))


def test_nothing_reaches_in_from_the_host(sandboxes: Sandboxes) -> None:
    """Nothing routes into a sandbox, not even from the machine it runs on."""
    server = sandboxes.create(block_network=False)
    serving = server.exec("python3", "-u", "-m", "http.server", "8000", "--bind", "0.0.0.0")
    assert "Serving" in next(iter(serving.stdout))
    address = inside(server, own_addresses)[-1]
    with pytest.raises(OSError), socket.create_connection((address, 8000), timeout=2):
        pass


def connect_unix(names: list[str]) -> list[str]:
    """Those Unix sockets that let themselves be connected to; ``@`` begins an abstract name."""
    import socket

    connected = []
    for name in names:
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_UNIX, kind) as one:
                try:
                    one.connect("\0" + name[1:] if name.startswith("@") else name)
                    connected.append(name)
                except OSError:
                    continue
    return connected


def test_unix_sockets_of_the_host(sandbox: cove.Sandbox) -> None:
    """Among them the control sockets of the sentries."""
    inside(sandbox, own_addresses)
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0cove-test-{threading.get_native_id()}")
        abstract.listen()
        names = [name for name in unix_sockets() if name != "/run/cove/api.sock"]  # every sandbox has one of its own
        assert any("cove-test-" in name for name in names)
        assert inside(sandbox, connect_unix, names) == []


def interfaces() -> list[str]:
    import socket

    return sorted(name for _, name in socket.if_nameindex())


def test_a_blocked_sandbox_has_a_loopback_alone(shared: cove.Sandbox) -> None:
    assert inside(shared, interfaces) == ["lo"]


def test_a_blocked_sandbox_has_no_resolver(shared: cove.Sandbox) -> None:
    with shared.open("/etc/resolv.conf") as file:
        assert file.read() == ""


def resolve(names: list[str]) -> dict[str, str]:
    import socket

    found = {}
    for name in names:
        try:
            found[name] = socket.gethostbyname(name)
        except OSError:
            continue
    return found


def test_no_host_name_of_the_machine_resolves_to_it(sandbox: cove.Sandbox) -> None:
    found = inside(sandbox, resolve, [socket.gethostname(), "host.docker.internal", "metadata.google.internal"])
    assert not set(found.values()) & (set(addresses()) - {"127.0.0.1"})

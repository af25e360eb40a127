"""Names, what connections say, and proxies, on real sandboxes; nameserver, proxies and the machine outside belong to the test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

import cove
from cove.exception import NotFoundError
from tests.support import dns_messages as dns
from tests.support import proxy_servers
from tests.support.dns_upstream import FakeUpstream, from_table
from tests.support.leaks import assert_holds, assert_nothing
from tests.support.live_cove import LiveCove
from tests.support.neighbour import Neighbour, echoing, neighbour
from tests.support.proxy_servers import ProxyServer

pytestmark = [pytest.mark.needs_runsc, pytest.mark.timeout(120)]

T = TypeVar("T")

TALK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as connection:
        connection.sendall(sys.argv[3].encode())
        print(connection.recv(4096).decode())
except OSError as error:
    print(type(error).__name__)
"""
TLS = """
import socket, ssl, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as connection:
        ssl.create_default_context().wrap_socket(connection, server_hostname=sys.argv[3])
except OSError as error:
    print(getattr(error, "reason", type(error).__name__))
"""
DATAGRAM = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect((sys.argv[1], 9999))
    sock.settimeout(10)
    try:
        sock.send(b"x")
        sock.recv(1)
    except OSError as error:
        print(type(error).__name__)
"""
GET = "GET / HTTP/1.1\r\nHost: {}\r\n\r\n"


class World:
    """A cove whose nodes have proxies and a nameserver, and a machine outside that sends back what it gets."""

    def __init__(self, there: Neighbour, port: int, nameserver: FakeUpstream, proxies: dict[str, ProxyServer], live: LiveCove) -> None:
        self.there, self.port, self.nameserver, self.proxies, self.live = there, port, nameserver, proxies, live
        self.client = client_of(live)
        self.app = cove.App.lookup("names", create_if_missing=True, client=self.client)

    @contextlib.contextmanager
    def sandbox(self, **options: Any) -> Iterator[cove.Sandbox]:
        sandbox = cove.Sandbox.create(app=self.app, client=self.client, **options)
        try:
            yield sandbox
        finally:
            sandbox.terminate()
            sandbox.wait(raise_on_termination=False)

    def talk(self, sandbox: cove.Sandbox, name: str, words: str) -> str:
        """What comes back, or the class of the error."""
        return sandbox.exec("python3", "-c", TALK, name, str(self.port), words).stdout.read().removesuffix("\n")


@contextlib.contextmanager
def in_thread(manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Run an asynchronous block in an event loop of its own while this one runs."""
    ready: Future[tuple[T, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def hold() -> None:
        stop = asyncio.Event()
        async with manager as value:
            ready.set_result((value, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    value, loop, stop = ready.result(timeout=20)
    try:
        yield value
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("names")
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(neighbour(directory))
        port = stack.enter_context(echoing(there))
        names = {"www.example.com": there.address, "other.example.com": there.other, "inside.example.com": "169.254.169.254"}
        table = {name: [dns.address(name, address)] for name, address in names.items()}
        nameserver = stack.enter_context(in_thread(FakeUpstream.serving(from_table(table))))
        proxies = {
            "socks": stack.enter_context(in_thread(ProxyServer.serving("socks5", with_credentials=True))),
            "http": stack.enter_context(in_thread(ProxyServer.serving("http"))),
        }
        credentials = f"{proxy_servers.USERNAME}:{quote(proxy_servers.PASSWORD)}@"
        settings = directory / "node.toml"
        settings.write_text(
            f'nameservers = ["127.0.0.1:{nameserver.server.port}"]\n'
            f'[proxies.socks]\nurl = "socks5://{credentials}127.0.0.1:{proxies["socks"].port}"\n'
            f'[proxies.http]\nurl = "http://127.0.0.1:{proxies["http"].port}"\n'
        )
        live = stack.enter_context(LiveCove(directory, COVE_NODE_CONFIG=str(settings)).running())
        yield World(there, port, nameserver, proxies, live)
    assert_nothing(live)
    for name in ("sandboxd", "router"):
        assert proxy_servers.PASSWORD not in live.log(name).read_text()


@pytest.fixture(autouse=True)
def nothing_left_behind(world: World) -> Iterator[None]:
    """Nothing of any sandbox may be left. In the place of the general check: the daemon comes and goes here."""
    yield
    assert_holds(world.live)


def client_of(live: LiveCove) -> cove.Client:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVE_CONFIG_PATH", str(live.directory / "cove.toml"))
        patch.setenv("COVE_SERVER_URL", f"127.0.0.1:{live.router_port}")
        return cove.Client.from_credentials(*live.credentials)


def denied(sandbox: cove.Sandbox) -> list[tuple[str, str]]:
    """(rule, name) of refusals."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = [(record.rule, record.name) for record in sandbox.network_log() if record.event == "egress_denied"]
        if found:
            return found
        time.sleep(0.02)
    return []


def test_a_listed_name_and_no_other(world: World) -> None:
    with world.sandbox(domain_allowlist=["*.example.com"]) as sandbox:
        assert world.talk(sandbox, "www.example.com", "hello") == "hello"
        assert world.talk(sandbox, "evil.example", "hello") == "gaierror"
        assert world.talk(sandbox, world.there.other, "hello") == "ConnectionRefusedError"
        assert world.talk(sandbox, "other.example.com", "hello") == "hello"
        assert world.talk(sandbox, world.there.other, "hello") == "hello"
        assert ("not_listed", "evil.example") in denied(sandbox)
        assert "evil.example" not in world.nameserver.asked
        allowed = {(one.name, one.address) for one in sandbox.network_log() if one.event == "egress_allowed" and one.protocol == "tcp"}
        assert allowed == {("www.example.com", world.there.address), ("other.example.com", world.there.other)}


def test_a_name_that_leads_inside(world: World) -> None:
    with world.sandbox() as sandbox:
        assert world.talk(sandbox, "inside.example.com", "hello") == "gaierror"
        assert denied(sandbox) == [("link_local", "inside.example.com")]


def test_connections_must_say_the_name_that_led_there(world: World) -> None:
    with world.sandbox(domain_allowlist=["www.example.com"]) as sandbox:
        assert world.talk(sandbox, "www.example.com", GET.format("www.example.com")).startswith("GET /")
        refused = world.talk(sandbox, "www.example.com", GET.format("evil.example"))
        assert refused.startswith("HTTP/1.1 403 ") and 'domain_allowlist=["evil.example"]' in refused
        said = sandbox.exec("python3", "-c", TLS, "www.example.com", str(world.port), "evil.example").stdout.read().strip()
        assert "ACCESS_DENIED" in said
        assert set(denied(sandbox)) == {("not_listed", "evil.example")}


def test_a_tightened_list_ends_a_relayed_connection(world: World) -> None:
    with world.sandbox(domain_allowlist=["*.example.com"]) as sandbox:
        assert world.talk(sandbox, "www.example.com", "hello") == "hello"
        sandbox.update_network(domain_allowlist=["other.example.com"])
        assert world.talk(sandbox, "www.example.com", "hello") == "gaierror"
        assert world.talk(sandbox, world.there.address, "hello") == "ConnectionRefusedError"
        assert world.talk(sandbox, "other.example.com", "hello") == "hello"


@pytest.mark.parametrize("name", ["socks", "http"])
def test_everything_leaves_through_the_proxy(world: World, name: str) -> None:
    proxy = cove.Proxy.from_name(name, client=world.client)
    with world.sandbox(proxy=proxy) as sandbox:
        world.proxies[name].asked.clear()
        assert world.talk(sandbox, "www.example.com", "through the proxy") == "through the proxy"
        assert world.proxies[name].asked == [(world.there.address, world.port)]
        datagram = sandbox.exec("python3", "-c", DATAGRAM, world.there.address).stdout.read().strip()
        assert datagram == "ConnectionRefusedError"
        assert [rule for rule, _ in denied(sandbox)] == ["proxied"]
        assert world.talk(sandbox, "169.254.169.254", "hello") in ("ConnectionRefusedError", "ConnectionResetError")
        assert len(world.proxies[name].asked) == 1


def test_a_daemon_that_is_killed_knows_the_names_afterwards(world: World) -> None:
    with world.sandbox(domain_allowlist=["www.example.com"]) as sandbox:
        assert world.talk(sandbox, "www.example.com", "hello") == "hello"
        world.live.kill("sandboxd")
        world.live.start("sandboxd")
        world.live.wait_ready()
        assert world.talk(sandbox, world.there.address, "hello") == "hello"
        assert world.talk(sandbox, world.there.other, "hello") == "ConnectionRefusedError"
        refused = world.talk(sandbox, world.there.address, GET.format("evil.example"))
        assert refused.startswith("HTTP/1.1 403 ")
        assert world.talk(sandbox, "www.example.com", "hello") == "hello"


def test_a_proxy_that_nobody_configured(world: World) -> None:
    with pytest.raises(NotFoundError, match="nowhere"), world.sandbox(proxy=cove.Proxy.from_name("nowhere", client=world.client)):
        pass

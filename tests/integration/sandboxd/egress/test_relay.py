"""The relay over real sockets: bytes, ends and resets get through; what is not allowed does not, and is told why."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest

from policies.egress import EgressPolicy, Mode
from sandboxd.egress import EgressServices
from sandboxd.egress.model import Client
from sandboxd.egress.relay.relayed import Destination
from tests.integration.sandboxd.egress.conftest import Serving
from tests.support import dns_messages as dns
from tests.support import hellos
from tests.support.dns_client import ask
from tests.support.dns_upstream import FakeUpstream, from_table
from tests.support.egress_node import FakeNode
from tests.support.origin import PATIENCE_S, Origin, Stream, connected

SANDBOX = "127.0.0.2"
LIST = EgressPolicy(mode=Mode.ALLOWLIST, domains=("*.example.com",))
BY_RANGE = EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("127.0.0.0/8",), domains=("*.example.com",))
GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
EVIL = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"


@pytest.fixture
async def client(services: EgressServices, node: FakeNode, upstream: FakeUpstream, origin: Origin, serving: Serving) -> Client:
    """A sandbox that looked up ``www.example.com``, which leads to the origin."""
    made = node.add(SANDBOX, LIST)
    upstream.answers = from_table({"www.example.com": [dns.address("www.example.com", "127.0.0.1")]})
    await ask(services.dns_port, "www.example.com")
    node.notes.clear()
    serving.destination = Destination(origin.address, origin.port)
    return made


@pytest.fixture
async def inside(client: Client, services: EgressServices) -> AsyncIterator[Stream]:
    """The sandbox's end of a relayed connection."""
    async with connected(services.relay_port) as stream:
        yield stream


def change(node: FakeNode, client: Client, policy: EgressPolicy) -> Client:
    changed = Client(client.sandbox_id, policy)
    node.clients[IPv4Address(SANDBOX)] = changed
    return changed


async def noted(node: FakeNode, count: int) -> list[tuple[bool, str, str]]:
    """(allowed, rule, name) of the first so many lines of the log."""
    async with asyncio.timeout(PATIENCE_S):
        while len(node.notes) < count:
            await node.noted.wait()
            node.noted.clear()
    assert len(node.notes) == count
    return [(attempt.allowed, attempt.rule, attempt.name) for _, attempt in node.notes]


async def test_bytes_pass_both_ways_and_ends_one_by_one(inside: Stream, origin: Origin, node: FakeNode) -> None:
    await inside.send(GET)
    outside = await origin.accepted()
    assert await outside.receive(len(GET)) == GET
    inside.end()
    assert await outside.rest() == b""
    await outside.send(b"answer")
    outside.close()
    assert await inside.rest() == b"answer"
    assert await noted(node, 1) == [(True, "domain", "www.example.com")]
    assert (node.notes[0][1].address, node.notes[0][1].port) == ("127.0.0.1", origin.port)


async def test_a_server_that_speaks_first_is_heard(inside: Stream, origin: Origin, node: FakeNode) -> None:
    outside = await origin.accepted()
    await outside.send(b"220 ready\r\n")
    assert await inside.receive(11) == b"220 ready\r\n"
    await inside.send(b"EHLO me\r\n")
    assert await outside.receive(9) == b"EHLO me\r\n"
    assert await noted(node, 1) == [(True, "domain", "www.example.com")]


async def test_tls_with_the_right_name_passes_and_the_wrong_is_told(inside: Stream, origin: Origin, node: FakeNode) -> None:
    hello = hellos.client_hello("www.example.com")
    await inside.send(hello)
    assert await (await origin.accepted()).receive(len(hello)) == hello
    assert await noted(node, 1) == [(True, "domain", "www.example.com")]


async def test_a_tls_client_is_told_that_its_name_is_not_allowed(
    client: Client, services: EgressServices, origin: Origin, node: FakeNode
) -> None:
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLError, match="ACCESS_DENIED"):
        await asyncio.open_connection(
            "127.0.0.1", services.relay_port, ssl=context, server_hostname="evil.example", local_addr=(SANDBOX, 0)
        )
    outside = await origin.accepted()
    assert await outside.was_reset()
    assert await noted(node, 1) == [(False, "not_listed", "evil.example")]
    assert node.notes[0][1].remedy == 'domain_allowlist=["evil.example"]'


async def test_an_http_client_is_told_what_would_allow_it(inside: Stream, origin: Origin, node: FakeNode) -> None:
    await inside.send(EVIL)
    answer = await inside.rest()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b'domain_allowlist=["evil.example"]' in answer
    assert await (await origin.accepted()).was_reset()
    assert await noted(node, 1) == [(False, "not_listed", "evil.example")]


async def test_an_allowed_name_that_did_not_lead_here(inside: Stream, origin: Origin, node: FakeNode) -> None:
    await inside.send(GET.replace(b"www", b"other"))
    assert (await inside.rest()).startswith(b"HTTP/1.1 403 ")
    assert await noted(node, 1) == [(False, "name", "other.example.com")]
    assert await (await origin.accepted()).was_reset()


async def test_a_second_request_to_another_host_on_the_same_connection(inside: Stream, origin: Origin, node: FakeNode) -> None:
    await inside.send(GET)
    outside = await origin.accepted()
    assert await outside.receive(len(GET)) == GET
    await outside.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert await inside.receive(27)
    await inside.send(GET)
    assert await outside.receive(len(GET)) == GET
    await inside.send(EVIL)
    assert (await inside.rest()).startswith(b"HTTP/1.1 403 ")
    assert await outside.was_reset()
    assert [allowed for allowed, _, _ in await noted(node, 2)] == [True, False]


async def test_a_websocket_through_the_relay(inside: Stream, origin: Origin) -> None:
    request = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    await inside.send(request + b"\x81\x02hi")
    outside = await origin.accepted()
    assert await outside.receive(len(request)) == request
    await outside.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert await outside.receive(4) == b"\x81\x02hi"
    assert (await inside.receive(12)) == b"HTTP/1.1 101"
    await inside.send(b"\x81\x05again")
    assert await outside.receive(7) == b"\x81\x05again"


async def test_an_address_that_no_name_led_to_is_reset_at_once(
    client: Client, services: EgressServices, serving: Serving, node: FakeNode, origin: Origin
) -> None:
    serving.destination = Destination(IPv4Address("127.0.0.77"), origin.port)
    async with connected(services.relay_port) as stream:
        assert await stream.was_reset()
    assert await noted(node, 1) == [(False, "not_listed", "")]
    assert origin.connections == 0


async def test_an_address_that_no_sandbox_may_reach_whatever_its_policy(
    client: Client, services: EgressServices, serving: Serving, node: FakeNode, origin: Origin
) -> None:
    change(node, client, EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("169.254.0.0/16",)))
    serving.destination = Destination(IPv4Address("169.254.169.254"), 80)
    async with connected(services.relay_port) as stream:
        assert await stream.was_reset()
    assert await noted(node, 1) == [(False, "link_local", "")]


async def test_ranges_need_no_names(client: Client, services: EgressServices, node: FakeNode, origin: Origin) -> None:
    change(node, client, BY_RANGE)
    async with connected(services.relay_port) as stream:
        await stream.send(EVIL)
        assert await (await origin.accepted()).receive(len(EVIL)) == EVIL
    assert (await noted(node, 1))[0][:2] == (True, "cidr")


async def test_strangers_and_who_was_not_redirected_are_hung_up_on(
    client: Client, services: EgressServices, serving: Serving, node: FakeNode, origin: Origin
) -> None:
    async with connected(services.relay_port, source="127.0.0.9") as stream:
        assert await stream.was_reset()
    serving.destination = None
    async with connected(services.relay_port) as stream:
        assert await stream.was_reset()
    assert (node.notes, origin.connections) == ([], 0)


async def test_a_slow_client_hello_is_given_up(
    client: Client, services: EgressServices, origin: Origin, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandboxd.egress.relay.connection.PATIENCE_S", 0.05)
    async with connected(services.relay_port) as stream:
        outside = await origin.accepted()
        await stream.send(hellos.client_hello("www.example.com")[:40])
        assert (await stream.rest())[:1] == b"\x15"
        assert await outside.was_reset()
    assert await noted(node, 1) == [(False, "protocol", "www.example.com")]


async def test_an_idle_connection_is_left_alone(
    client: Client, services: EgressServices, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandboxd.egress.relay.connection.PATIENCE_S", 0.02)
    async with connected(services.relay_port) as stream:
        outside = await origin.accepted()
        await stream.send(GET)
        await outside.receive(len(GET))
        await asyncio.sleep(0.06)
        await stream.send(GET)
        assert await outside.receive(len(GET)) == GET


@pytest.mark.parametrize("sender", ["inside", "outside"])
async def test_a_reset_of_one_side_reaches_the_other(inside: Stream, origin: Origin, sender: str) -> None:
    await inside.send(b"x")
    outside = await origin.accepted()
    await outside.receive(1)
    first, second = (inside, outside) if sender == "inside" else (outside, inside)
    first.reset()
    assert await second.was_reset()


async def test_a_destination_that_refuses(client: Client, services: EgressServices, serving: Serving, node: FakeNode) -> None:
    serving.destination = Destination(IPv4Address("127.0.0.1"), 9)
    async with connected(services.relay_port) as stream:
        assert await stream.was_reset()
    assert await noted(node, 1) == [(True, "domain", "www.example.com")]


async def test_much_data_both_ways_with_slow_readers(inside: Stream, origin: Origin) -> None:
    """What waits in the relay is bounded, and every byte arrives."""
    pattern = bytes(range(256)) * 4096
    total = 24
    await inside.send(b"\0")
    outside = await origin.accepted()
    await outside.receive(1)

    async def pour(stream: Stream) -> None:
        for _ in range(total):
            await stream.send(pattern)
        stream.end()

    async def drain(stream: Stream) -> str:
        digest = hashlib.sha256()
        while piece := await stream.reader.read(1 << 20):
            digest.update(piece)
        return digest.hexdigest()

    expected = hashlib.sha256(pattern * total).hexdigest()
    async with asyncio.TaskGroup() as group:
        group.create_task(pour(inside))
        group.create_task(pour(outside))
        drains = [group.create_task(drain(outside)), group.create_task(drain(inside))]
    assert [task.result() for task in drains] == [expected] * 2


async def test_who_does_not_read_stops_the_sender(inside: Stream, origin: Origin) -> None:
    await inside.send(b"\0")
    outside = await origin.accepted()
    outside.reader._transport.pause_reading()  # type: ignore[attr-defined]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            while True:  # socket buffers and the relay's take some megabytes
                await inside.send(b"x" * 65_536)


async def test_a_tightened_policy_ends_what_it_no_longer_allows(
    client: Client, services: EgressServices, serving: Serving, node: FakeNode, origin: Origin
) -> None:
    async with connected(services.relay_port) as stream:
        await stream.send(GET)
        outside = await origin.accepted()
        await outside.receive(len(GET))
        services.policy_changed(change(node, client, EgressPolicy(mode=Mode.ALLOWLIST, domains=("www.example.com", "other.example"))))
        await stream.send(GET)
        assert await outside.receive(len(GET)) == GET
        services.policy_changed(change(node, client, EgressPolicy(mode=Mode.ALLOWLIST, domains=("other.example",))))
        assert await stream.was_reset()
        assert await outside.was_reset()
    async with connected(services.relay_port) as stream:
        assert await stream.was_reset()
    assert [allowed for allowed, _, _ in await noted(node, 3)] == [True, False, False]


@pytest.mark.parametrize("policy", [EgressPolicy(mode=Mode.BLOCKED), LIST], ids=["blocked", "list"])
async def test_what_was_not_looked_at_ends_when_names_begin_to_count(
    client: Client, services: EgressServices, node: FakeNode, origin: Origin, policy: EgressPolicy
) -> None:
    change(node, client, BY_RANGE)
    async with connected(services.relay_port) as stream:
        await stream.send(EVIL)
        outside = await origin.accepted()
        await outside.receive(len(EVIL))
        services.policy_changed(change(node, client, policy))
        assert await stream.was_reset()
        assert await outside.was_reset()


async def test_connections_of_one_sandbox_are_bounded(
    client: Client, services: EgressServices, node: FakeNode, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandboxd.egress.relay.server.MAX_EACH", 3)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(services.relay_port))
            stack.callback((await origin.accepted()).close)
        async with connected(services.relay_port) as one_more:
            assert await one_more.was_reset()
        assert await noted(node, 1) == [(False, "connections", "www.example.com")]
    await noted(node, 4)
    async with connected(services.relay_port) as stream:
        await origin.accepted()
        await stream.send(GET)


async def test_a_sandbox_that_ends_leaves_nothing(client: Client, services: EgressServices, origin: Origin) -> None:
    async with connected(services.relay_port) as stream:
        outside = await origin.accepted()
        services.forget(client.sandbox_id)
        assert await stream.was_reset()
        assert await outside.was_reset()
    assert services.list_() == frozenset()

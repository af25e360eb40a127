"""Sandboxes that want too much of resolver and relay: they get their share, and others theirs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import pytest

from policies.egress import EgressPolicy, Mode
from sandboxd.egress import EgressServices
from sandboxd.egress.relay.relayed import Destination
from tests.integration.sandboxd.egress.conftest import Serving
from tests.support import dns_messages as dns
from tests.support import hellos
from tests.support.dns_client import ask, exchange
from tests.support.dns_upstream import FakeUpstream, from_table
from tests.support.egress_node import FakeNode
from tests.support.origin import Origin, Stream, connected

GREEDY, MODEST = "127.0.0.2", "127.0.0.3"
LIST = EgressPolicy(mode=Mode.ALLOWLIST, domains=("*.example.com",))
HELLO = hellos.client_hello("www.example.com")


@pytest.fixture(autouse=True)
async def both(services: EgressServices, node: FakeNode, upstream: FakeUpstream, origin: Origin, serving: Serving) -> None:
    """Two sandboxes that have looked up ``www.example.com``, which leads to the origin."""
    upstream.answers = from_table({"www.example.com": [dns.address("www.example.com", "127.0.0.1")]})
    serving.destination = Destination(origin.address, origin.port)
    for address in (GREEDY, MODEST):
        node.add(address, LIST)
        await ask(services.dns_port, "www.example.com", source=address)
    node.notes.clear()
    upstream.asked.clear()


async def test_half_a_client_hello_on_every_connection(
    services: EgressServices, node: FakeNode, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandboxd.egress.relay.server.MAX_EACH", 50)
    async with contextlib.AsyncExitStack() as stack:
        held: list[Stream] = []
        for _ in range(150):
            stream = await stack.enter_async_context(connected(services.relay_port, source=GREEDY))
            with contextlib.suppress(ConnectionError):
                await stream.send(HELLO[:100])
            held.append(stream)
        async with connected(services.relay_port, source=MODEST) as modest:
            await modest.send(HELLO)
            while True:  # those of the greedy one are accepted, too, and never hear a byte of it
                outside = await origin.accepted()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        assert await outside.reader.readexactly(len(HELLO)) == HELLO
                        break
        assert [await stream.was_reset() for stream in held[50:]] == [True] * 100
    denials = [attempt.rule for _, attempt in node.notes if not attempt.allowed]
    assert denials.count("connections") == 100


async def test_all_sandboxes_together_are_bounded(services: EgressServices, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandboxd.egress.relay.server.MAX_ALL", 10)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(10):
            await stack.enter_async_context(connected(services.relay_port, source=(GREEDY, MODEST)[number % 2]))
        async with connected(services.relay_port, source=MODEST) as one_more:
            assert await one_more.was_reset()


async def test_data_hidden_in_names_of_an_allowed_domain(services: EgressServices, node: FakeNode, upstream: FakeUpstream) -> None:
    """A tunnel by DNS through a wildcard: it gets a few kilobytes out, is told of, and the other sandbox does not notice."""
    told = 0
    for _ in range(300):
        name = f"{secrets.token_hex(31)}.{secrets.token_hex(31)}.{secrets.token_hex(20)}.example.com"
        with contextlib.suppress(TimeoutError):
            told += (await ask(services.dns_port, name, source=GREEDY)).rcode == 3
    carried = sum(len(name) for name in upstream.asked)
    assert carried < 16_384
    assert told == len(upstream.asked)
    assert any(attempt.rule == "dns_names" for _, attempt in node.notes)
    assert (await ask(services.dns_port, "www.example.com", source=MODEST)).addresses == ["127.0.0.1"]


@pytest.mark.parametrize("kind", [dns.TXT, dns.MX, dns.NS, dns.CNAME, 10, 255])
async def test_data_hidden_in_other_records(services: EgressServices, upstream: FakeUpstream, kind: int) -> None:
    assert (await ask(services.dns_port, "data.example.com", kind, source=GREEDY)).rcode == 5
    hidden = dns.question("data.example.com") + b"behind the question"
    assert dns.parse(await exchange(services.dns_port, hidden, source=GREEDY)).rcode == 1
    assert upstream.asked == []

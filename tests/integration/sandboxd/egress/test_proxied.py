"""Connections through the operator's proxies: real SOCKS5 and HTTP CONNECT, with and without credentials, willing and not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from typing import NamedTuple
from urllib.parse import quote

import pytest

from policies.egress import EgressPolicy, Mode
from sandboxd.egress import EgressServices
from sandboxd.egress.model import Client
from sandboxd.egress.relay.proxies import parse_url
from sandboxd.egress.relay.relayed import Destination
from tests.integration.sandboxd.egress.conftest import Serving
from tests.support import proxy_servers
from tests.support.egress_node import FakeNode
from tests.support.origin import Origin, connected
from tests.support.proxy_servers import ProxyServer

SANDBOX = "127.0.0.2"
OPEN = EgressPolicy(proxy="exit")
LIST = EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("127.0.0.0/8",), proxy="exit")


class Chain(NamedTuple):
    """Services whose sandboxes leave through a proxy."""

    proxy: ProxyServer
    services: EgressServices
    client: Client


@pytest.fixture(params=["socks5", "socks5 with credentials", "http", "http with credentials"])
async def chain(request: pytest.FixtureRequest, serving: Serving, node: FakeNode, origin: Origin) -> AsyncIterator[Chain]:
    scheme, _, credentials = request.param.partition(" ")
    async with ProxyServer.serving(scheme, with_credentials=bool(credentials)) as proxy:
        user = f"{proxy_servers.USERNAME}:{quote(proxy_servers.PASSWORD)}@" if credentials else ""
        serving.proxies = {"exit": parse_url(f"{scheme}://{user}127.0.0.1:{proxy.port}")}
        serving.destination = Destination(origin.address, origin.port)
        async with serving() as services:
            yield Chain(proxy, services, node.add(SANDBOX, OPEN))


async def test_everything_leaves_through_the_proxy(chain: Chain, origin: Origin, node: FakeNode) -> None:
    async with connected(chain.services.relay_port) as stream:
        await stream.send(b"GET / HTTP/1.1\r\n\r\n")
        outside = await origin.accepted()
        assert await outside.receive(18) == b"GET / HTTP/1.1\r\n\r\n"
        await outside.send(b"answer")
        outside.end()
        assert await stream.rest() == b"answer"
        stream.end()
        assert await outside.rest() == b""
    assert chain.proxy.asked == [("127.0.0.1", origin.port)]
    assert [(attempt.allowed, attempt.rule) for _, attempt in node.notes] == [(True, "open")]


async def test_a_server_that_speaks_first_is_heard_through_the_proxy(chain: Chain, origin: Origin) -> None:
    """Its words may come in one segment with the proxy's."""
    async with connected(chain.services.relay_port) as stream:
        outside = await origin.accepted()
        await outside.send(b"220 ready\r\n" * 1000)
        assert await stream.receive(11_000) == b"220 ready\r\n" * 1000


async def test_policies_hold_before_the_proxy_is_asked(chain: Chain, node: FakeNode, serving: Serving) -> None:
    node.clients = dict.fromkeys(node.clients, Client(chain.client.sandbox_id, LIST))
    serving.destination = Destination(IPv4Address("192.0.2.1"), 80)
    async with connected(chain.services.relay_port) as stream:
        assert await stream.was_reset()
    serving.destination = Destination(IPv4Address("169.254.169.254"), 80)
    async with connected(chain.services.relay_port) as stream:
        assert await stream.was_reset()
    assert chain.proxy.asked == []
    assert node.denials() == [("not_listed", "192.0.2.1"), ("link_local", "169.254.169.254")]


async def test_a_proxy_that_refuses(chain: Chain, node: FakeNode) -> None:
    chain.proxy.refuses = True
    async with connected(chain.services.relay_port) as stream:
        assert await stream.was_reset()
    assert node.denials() == [("proxy", "127.0.0.1")]
    assert "exit" in node.notes[0][1].remedy


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_wrong_credentials_are_no_secret_in_the_log(
    scheme: str, services: EgressServices, node: FakeNode, serving: Serving, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    node.add(SANDBOX, OPEN)
    serving.destination = Destination(origin.address, origin.port)
    async with ProxyServer.serving(scheme, with_credentials=True) as proxy:
        serving.proxies["exit"] = parse_url(f"{scheme}://relay:guess@127.0.0.1:{proxy.port}")
        async with connected(services.relay_port) as stream:
            assert await stream.was_reset()
    assert node.denials() == [("proxy", "127.0.0.1")]
    assert "guess" not in node.notes[0][1].remedy + caplog.text + repr(serving.proxies)


async def test_a_proxy_that_this_node_does_not_have(chain: Chain, node: FakeNode) -> None:
    node.clients = dict.fromkeys(node.clients, Client(chain.client.sandbox_id, EgressPolicy(proxy="other")))
    async with connected(chain.services.relay_port) as stream:
        assert await stream.was_reset()
    assert node.denials() == [("proxy", "127.0.0.1")]
    assert chain.proxy.asked == []


async def test_another_proxy_ends_connections_through_the_first(chain: Chain, node: FakeNode, origin: Origin) -> None:
    async with connected(chain.services.relay_port) as stream:
        outside = await origin.accepted()
        changed = Client(chain.client.sandbox_id, EgressPolicy())
        node.clients = dict.fromkeys(node.clients, changed)
        chain.services.policy_changed(changed)
        assert await stream.was_reset()
        assert await outside.rest() == b""


@pytest.mark.parametrize("answer", [b"rubbish that is no SOCKS", b"\5", b"\5\0\5\0\0\x09", b"\5\0\5", b""])
async def test_proxies_that_are_none(answer: bytes, serving: Serving, services: EgressServices, node: FakeNode, origin: Origin) -> None:
    serving.proxies["exit"] = parse_url(f"socks5://127.0.0.1:{origin.port}")
    serving.destination = Destination(origin.address, origin.port)
    node.add(SANDBOX, OPEN)
    async with connected(services.relay_port) as stream:
        fake = await origin.accepted()
        await fake.send(answer)
        fake.end()
        assert await stream.was_reset()
    assert node.denials() == [("proxy", "127.0.0.1")]


async def test_a_proxy_that_says_nothing(
    serving: Serving, services: EgressServices, node: FakeNode, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandboxd.egress.relay.dial.DIAL_S", 0.05)
    serving.proxies["exit"] = parse_url(f"http://127.0.0.1:{origin.port}")
    serving.destination = Destination(origin.address, origin.port)
    node.add(SANDBOX, OPEN)
    async with connected(services.relay_port) as stream:
        assert await stream.was_reset()
    await asyncio.sleep(0)

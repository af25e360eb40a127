"""References to proxies: no call before they are used."""

from __future__ import annotations

import pytest

import cove
from cove._async.app import _App
from cove._async.client import _Client
from cove._async.proxy import _Proxy
from cove._async.sandbox import _Sandbox
from cove.exception import InvalidError, NotFoundError
from tests.support.fake_server import World


async def test_a_proxy_is_asked_for_when_it_is_used_and_once(world: World, client: _Client) -> None:
    proxy = _Proxy.from_name("exit", environment_name="main", client=client)
    assert (proxy.name, proxy.object_id, world.proxies_asked) == ("exit", None, 0)
    assert await proxy.hydrate() is proxy
    await proxy.hydrate()
    assert (proxy.object_id, world.proxies_asked) == ("pr-exit", 1)


async def test_a_proxy_that_is_not_there_is_missed_when_it_is_used(client: _Client) -> None:
    proxy = _Proxy.from_name("nowhere")
    with pytest.raises(NotFoundError, match="nowhere"):
        await proxy.hydrate(client)
    assert proxy.object_id is None


async def test_a_sandbox_is_created_with_a_proxy_and_changed_to_another(world: World, client: _Client) -> None:
    world.proxies.append("other")
    app = await _App.lookup("app", client=client, create_if_missing=True)
    exit_, other = (_Proxy.from_name(name, client=client) for name in ("exit", "other"))
    sandbox = await _Sandbox.create(app=app, client=client, proxy=exit_, cidr_allowlist=["192.0.2.0/24"])
    assert (world.only.spec.network.proxy, list(world.only.spec.network.cidrs)) == ("exit", ["192.0.2.0/24"])
    await sandbox.update_network(proxy=other)
    assert world.only.spec.network.proxy == "other"
    await sandbox.update_network()
    assert world.only.spec.network.proxy == ""
    with pytest.raises(NotFoundError):
        await _Sandbox.create(app=app, client=client, proxy=_Proxy.from_name("nowhere", client=client))
    assert len(world.sandboxes) == 1


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a/b"])
def test_names_that_no_proxy_has(name: str) -> None:
    with pytest.raises(InvalidError):
        cove.Proxy.from_name(name)

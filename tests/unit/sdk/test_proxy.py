"""References to proxies: no call before they are used."""

from __future__ import annotations

import pytest

import cove
from cove._async.client import _Client
from cove._async.proxy import _Proxy
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


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a/b"])
def test_names_that_no_proxy_has(name: str) -> None:
    with pytest.raises(InvalidError):
        cove.Proxy.from_name(name)

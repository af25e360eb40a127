"""Who sees what: workspaces are apart, environments too, and clients are sent where the operator says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cove.exception import InvalidError, NotFoundError
from cove.types import new_id
from cove.wire import control_pb2, snapshot_pb2
from tests.integration.router.conftest import Cluster, running_cluster, settings_for


@pytest.mark.parametrize(
    ("method", "request_class"),
    [
        ("SandboxGet", control_pb2.SandboxGetRequest),
        ("SandboxTagsSet", control_pb2.SandboxTagsSetRequest),
        ("SandboxTagsGet", control_pb2.SandboxTagsGetRequest),
        ("SandboxWait", control_pb2.SandboxWaitRequest),
        ("SandboxTerminate", control_pb2.SandboxTerminateRequest),
        ("SandboxAccess", control_pb2.SandboxAccessRequest),
        ("SandboxPause", snapshot_pb2.SandboxPauseRequest),
        ("SandboxResume", snapshot_pb2.SandboxResumeRequest),
    ],
)
async def test_a_sandbox_of_another_workspace_is_not_there(cluster: Cluster, method: str, request_class: Any) -> None:
    node = await cluster.node()
    made = await cluster.client.create(await cluster.client.app(), name="n", tags={"a": "b"})
    foreigner = cluster.new_client(await cluster.router.parts.authenticator.create("elsewhere", "t"))
    with pytest.raises(NotFoundError) as caught:
        await foreigner.call(method, request_class(sandbox_id=made.sandbox_id))
    with pytest.raises(NotFoundError) as unknown:
        await foreigner.call(method, request_class(sandbox_id="sb-" + "0" * 22))
    assert caught.value.remedy == unknown.value.remedy
    assert [name for name, _ in node.calls] == ["Create"]
    assert (await cluster.client.get(made.sandbox_id)).tags == {"a": "b"}


async def test_nothing_else_of_another_workspace_is_there_either(cluster: Cluster) -> None:
    await cluster.node()
    app_id, key = await cluster.client.app(), new_id("ik")
    made = await cluster.client.create(app_id, name="n", idempotency_key=key)
    foreigner = cluster.new_client(await cluster.router.parts.authenticator.create("elsewhere", "t"))
    assert [token.name for token in (await foreigner.call("TokenList")).tokens] == ["t"]
    assert not (await foreigner.list_(include_stopped=True)).sandboxes
    assert not (await foreigner.list_(app_id=app_id, include_stopped=True)).sandboxes
    with pytest.raises(NotFoundError):
        await foreigner.create(app_id)
    with pytest.raises(NotFoundError):
        await foreigner.call("AppLookup", control_pb2.AppLookupRequest(name="app"))
    with pytest.raises(NotFoundError):
        await foreigner.call("TokenRevoke", control_pb2.TokenRevokeRequest(token_id=cluster.credentials.token_id))
    own = await foreigner.app()
    assert own != app_id
    theirs = await foreigner.create(own, name="n", idempotency_key=key)
    assert theirs.sandbox_id != made.sandbox_id
    found = await foreigner.call("SandboxGetByName", control_pb2.SandboxGetByNameRequest(app_name="app", name="n"))
    assert found.sandbox_id == theirs.sandbox_id


async def test_an_app_belongs_to_its_environment(cluster: Cluster) -> None:
    default = await cluster.client.app()
    assert await cluster.client.app("app", "main") == default
    assert await cluster.client.app("app", "staging") != default
    assert await cluster.client.app() == default
    missing = control_pb2.AppLookupRequest(name="new")
    with pytest.raises(NotFoundError):
        await cluster.client.call("AppLookup", missing)
    for request in (control_pb2.AppLookupRequest(name="a b"), control_pb2.AppLookupRequest(name="app", environment="a/b")):
        with pytest.raises(InvalidError):
            await cluster.client.call("AppLookup", request)


@pytest.mark.parametrize("advertised", [{}, {"advertised_grpc_address": "edge:443", "advertised_http_url": "https://edge"}])
async def test_clients_are_sent_through_the_router_where_that_is_set(tmp_path: Path, advertised: dict[str, str]) -> None:
    async with running_cluster(settings_for(tmp_path, data_plane="proxy", **advertised)) as cluster:
        await cluster.node()
        made = await cluster.client.create(await cluster.client.app())
        expected = tuple(advertised.values()) or (cluster.router.grpc_address, cluster.http)
        assert (made.access.grpc_address, made.access.http_url) == expected
        again = await cluster.client.call("SandboxAccess", control_pb2.SandboxAccessRequest(sandbox_id=made.sandbox_id))
        assert (again.grpc_address, again.http_url) == expected
        assert again.expires_at - cluster.clock() > 800

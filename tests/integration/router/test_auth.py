"""Nothing is answered without credentials, whichever method is asked; tokens live and die at once."""

from __future__ import annotations

import stat

import pytest
import structlog

from cove.exception import AuthError, Error, InvalidError, NotFoundError, ResourceExhaustedError
from cove.types import new_id
from cove.wire import control_pb2, node_pb2
from router.auth import Credentials
from router.bootstrap import FILE_NAME
from tests.integration.router.conftest import Cluster, running_cluster, settings_for
from tests.support.router_client import SERVICE

METHODS = [method.name for method in SERVICE.methods]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("defect", ["none", "unknown id", "wrong secret", "swapped", "empty secret"])
async def test_every_method_refuses_wrong_credentials_alike(cluster: Cluster, method: str, defect: str) -> None:
    good = cluster.credentials
    wrong = {
        "none": None,
        "unknown id": Credentials(new_id("ak"), good.token_secret),
        "wrong secret": Credentials(good.token_id, new_id("as")),
        "swapped": Credentials(good.token_secret, good.token_id),
        "empty secret": Credentials(good.token_id, ""),
    }[defect]
    with pytest.raises(AuthError) as caught:
        await cluster.new_client(wrong).call(method)
    assert caught.value.cause == "The API token is not valid."


async def test_a_flood_of_failures_is_told_so_but_the_rightful_still_pass(cluster: Cluster) -> None:
    stranger = cluster.new_client(Credentials(new_id("ak"), new_id("as")))
    seen: list[type[Error]] = []
    for _ in range(30):
        with pytest.raises((AuthError, ResourceExhaustedError)) as caught:
            await stranger.call("Hello")
        seen.append(type(caught.value))
    assert seen[0] is AuthError and seen[-1] is ResourceExhaustedError
    assert (await cluster.client.call("Hello")).workspace == "main"


async def test_tokens_are_made_listed_and_revoked_at_once(cluster: Cluster) -> None:
    made = await cluster.client.call("TokenCreate", control_pb2.TokenCreateRequest(name="laptop"))
    assert made.token_id.startswith("ak-") and made.token_secret.startswith("as-")
    other = cluster.new_client(Credentials(made.token_id, made.token_secret))
    await other.call("Hello")
    listed = {token.token_id: token for token in (await other.call("TokenList")).tokens}
    assert {token.name for token in listed.values()} == {"bootstrap", "laptop"}
    assert listed[made.token_id].last_used_at > 0

    revoke = control_pb2.TokenRevokeRequest(token_id=made.token_id)
    await cluster.client.call("TokenRevoke", revoke)
    await cluster.client.call("TokenRevoke", revoke)
    with pytest.raises(AuthError):
        await other.call("Hello")
    assert {token.token_id: token.revoked for token in (await cluster.client.call("TokenList")).tokens}[made.token_id]
    with pytest.raises(NotFoundError):
        await cluster.client.call("TokenRevoke", control_pb2.TokenRevokeRequest(token_id=new_id("ak")))
    with pytest.raises(InvalidError):
        await cluster.client.call("TokenCreate", control_pb2.TokenCreateRequest(name="a\nb"))


async def test_the_bootstrap_token_is_private_made_once_and_again_when_nobody_can_log_in(tmp_path: object) -> None:
    settings = settings_for(tmp_path)  # type: ignore[arg-type]  # pytest's Path
    path = settings.router_dir / FILE_NAME
    async with running_cluster(settings) as first:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        text = path.read_bytes()
    async with running_cluster(settings) as again:
        assert path.read_bytes() == text
        await again.client.call("Hello")
        await again.client.call("TokenRevoke", control_pb2.TokenRevokeRequest(token_id=first.credentials.token_id))
    async with running_cluster(settings) as last:
        assert path.read_bytes() != text
        await last.client.call("Hello")


async def test_no_secret_is_logged_or_stored(cluster: Cluster) -> None:
    with structlog.testing.capture_logs() as logs:
        node = await cluster.node()
        made = await cluster.client.call("TokenCreate", control_pb2.TokenCreateRequest())
        with pytest.raises(AuthError):
            await cluster.new_client(Credentials(made.token_id, "as-" + "x" * 22)).call("Hello")
        sandbox = await cluster.client.create(await cluster.client.app(), spec={"env": {"KEY": "hunter2"}, "command": [b"hunter3"]})
        await node.run(sandbox.sandbox_id)
    directory = cluster.settings.router_dir
    stored = b"".join(path.read_bytes() for path in directory.glob("router.db*"))
    secrets = [made.token_secret, cluster.credentials.token_secret, node.session, sandbox.access.token, "hunter2", "hunter3"]
    for secret in [*secrets, (directory / "join-token").read_text()]:
        assert secret not in repr(logs)
        assert secret.encode() not in stored
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in directory.iterdir())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("token", ["", "jt-" + "0" * 22, "x" * 5000])
async def test_a_node_needs_the_join_token(cluster: Cluster, token: str) -> None:
    node = await cluster.node()
    with pytest.raises(Exception, match="UNAUTHENTICATED"):
        await node.call_registry("Register", node_pb2.RegisterRequest(node_id="evil"), token)
    with pytest.raises(Exception, match="UNAUTHENTICATED"):
        await node.call_registry("Report", node_pb2.ReportRequest(node_id="node-a"), token)
    assert [info.node_id for info in (await cluster.client.call("NodeList")).nodes] == ["node-a"]

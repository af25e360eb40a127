"""A token opens its own sandbox and nothing else, whichever way it is shown: every method, over gRPC and HTTP, at node and router."""

from __future__ import annotations

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message_factory import GetMessageClass

import cove
from cove.wire import common_pb2, control_pb2, control_pb2_grpc, data_pb2, node_pb2
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes

METHODS: Final = tuple(data_pb2.DESCRIPTOR.services_by_name["DataPlane"].methods)
NODE_METHODS: Final = tuple(node_pb2.DESCRIPTOR.services_by_name["Node"].methods)
CONTROL_METHODS: Final = tuple(control_pb2.DESCRIPTOR.services_by_name["Control"].methods)

Metadata = tuple[tuple[str, str], ...]


class Pair:
    """Two sandboxes of the same workspace, and access to the first."""

    def __init__(self, live: LiveCove, mine: cove.Sandbox, other: cove.Sandbox) -> None:
        self.mine, self.other = mine.object_id, other.object_id
        token_id, token_secret = live.credentials
        self.credentials: Metadata = (("cove-token-id", token_id), ("cove-token-secret", token_secret))
        self.access = self._access(live)

    def _access(self, live: LiveCove) -> common_pb2.Access:
        with grpc.insecure_channel(f"127.0.0.1:{live.router_port}") as channel:
            control = control_pb2_grpc.ControlStub(channel)  # type: ignore[no-untyped-call]  # generated
            access: common_pb2.Access = control.SandboxAccess(
                control_pb2.SandboxAccessRequest(sandbox_id=self.mine), metadata=self.credentials
            )
            return access


@pytest.fixture(scope="module")
def pair(live: LiveCove, app: cove.App) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        made = [cove.Sandbox.create(app=app, block_network=True, timeout=600) for _ in range(2)]
        for sandbox in made:
            stack.callback(sandbox.terminate)
            sandbox.exec("true").wait()
        yield Pair(live, *made)


def _code(address: str, method: Any, fields: dict[str, Any], metadata: Metadata) -> grpc.StatusCode:
    """The status that a call ends with."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    request = GetMessageClass(method.input_type)(
        **{name: value for name, value in fields.items() if name in method.input_type.fields_by_name}
    )
    with grpc.insecure_channel(address) as channel:
        kind = channel.unary_stream if method.server_streaming else channel.unary_unary
        call = kind(path, type(request).SerializeToString, GetMessageClass(method.output_type).FromString)
        try:
            answer = call(request, metadata=metadata, timeout=10)
            if method.server_streaming:
                for _ in answer:
                    break
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


@pytest.fixture(params=["node", "router"])
def address(request: pytest.FixtureRequest, live: LiveCove) -> str:
    """Where the data plane is spoken: the node itself, and the router, which passes it on."""
    return f"127.0.0.1:{live.node_port if request.param == 'node' else live.router_port}"


def _bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_no_method_takes_the_token_of_another_sandbox(pair: Pair, address: str, method: Any) -> None:
    fields = {"sandbox_id": pair.other, "exec_id": "e", "argv": [b"true"], "path": b"/etc/passwd"}
    assert _code(address, method, fields, _bearer(pair.access.token)) is grpc.StatusCode.PERMISSION_DENIED


def _forgeries(pair: Pair) -> dict[str, Metadata]:
    """Metadata that must not open the sandbox."""
    token = pair.access.token
    claims = jwt.decode(token, options={"verify_signature": False})
    head, body, signature = token.split(".")
    return {
        "nothing": (),
        "empty": _bearer(""),
        "garbage": _bearer("x.y.z"),
        "endless": _bearer("a" * 8000),
        "api credentials": pair.credentials,
        "no signature": _bearer(f"{head}.{body}."),
        "cut signature": _bearer(f"{head}.{body}.{signature[:-4]}"),
        "algorithm none": _bearer(jwt.encode(claims, "", algorithm="none")),
        "shared secret": _bearer(jwt.encode(claims, "secret" * 8, algorithm="HS256")),
        "another key": _bearer(jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA")),
        "prolonged": _bearer(jwt.encode({**claims, "exp": time.time() + 10**6}, Ed25519PrivateKey.generate(), algorithm="EdDSA")),
        "other scheme": (("authorization", f"Basic {token}"),),
    }


def test_no_forgery_opens_a_sandbox(pair: Pair, address: str) -> None:
    fields = {"sandbox_id": pair.mine, "exec_id": "e", "argv": [b"true"], "path": b"/etc/passwd"}
    for name, metadata in _forgeries(pair).items():
        for method in (METHODS[0], METHODS[1]):
            assert _code(address, method, fields, metadata) is grpc.StatusCode.UNAUTHENTICATED, f"{name}: {method.name}"


def test_the_real_token_opens_it(pair: Pair, address: str) -> None:
    method = data_pb2.DESCRIPTOR.services_by_name["DataPlane"].methods_by_name["ProcessList"]
    assert _code(address, method, {"sandbox_id": pair.mine}, _bearer(pair.access.token)) is grpc.StatusCode.OK


@pytest.mark.parametrize("method", NODE_METHODS, ids=lambda method: method.name)
def test_a_sandboxs_token_does_not_open_the_node_api(pair: Pair, live: LiveCove, method: Any) -> None:
    for metadata in (_bearer(pair.access.token), pair.credentials, ()):
        assert _code(f"127.0.0.1:{live.node_port}", method, {"sandbox_id": pair.mine}, metadata) in (
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.PERMISSION_DENIED,
        )


@pytest.mark.parametrize("method", CONTROL_METHODS, ids=lambda method: method.name)
def test_the_control_plane_takes_api_tokens_only(pair: Pair, live: LiveCove, method: Any) -> None:
    token_id, _ = live.credentials
    wrong = (("cove-token-id", token_id), ("cove-token-secret", "as-" + "0" * 22))
    for metadata in (_bearer(pair.access.token), (), wrong):
        # Whoever fails often is told nothing but to slow down.
        refusals = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert _code(f"127.0.0.1:{live.router_port}", method, {"sandbox_id": pair.mine}, metadata) in refusals


@pytest.mark.parametrize("verb", ["GET", "PUT"])
@pytest.mark.parametrize("kind", ["file", "archive"])
@pytest.mark.parametrize("through", ["node", "router"])
def test_bulk_transfers_ask_for_the_same_token(pair: Pair, live: LiveCove, verb: str, kind: str, through: str) -> None:
    port = live.node_http_port if through == "node" else live.router_http_port
    path = "%2Fetc%2Fpasswd" if verb == "GET" else "%2Ftmp"
    for sandbox_id, header, expected in (
        (pair.other, f"Bearer {pair.access.token}", 403),
        (pair.mine, "Bearer x.y.z", 401),
        (pair.mine, None, 401),
        (f"{pair.mine}%2F..%2F{pair.other}", f"Bearer {pair.access.token}", 403),
    ):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/sandboxes/{sandbox_id}/{kind}?path={path}", method=verb)
        if header:
            request.add_header("Authorization", header)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=10)
        with raised.value as answer:
            assert answer.code in (expected, 404 if "%2F.." in sandbox_id else expected)


def test_two_sandboxes_share_no_files_and_no_memory(sandboxes: Sandboxes) -> None:
    one, other = sandboxes.create(), sandboxes.create()
    for path in ("/tmp/shared", "/dev/shm/shared", "/root/shared", "/etc/shared", "/run/shared"):
        with one.open(path, "w") as file:
            file.write("mine")
        with pytest.raises(FileNotFoundError):
            other.open(path)
    assert "shared" not in other.exec("ls", "/tmp", "/dev/shm", "/root", "/etc", "/run").stdout.read()

"""Calls that only ``cove token`` makes."""

from __future__ import annotations

from typing import Final

from cove._async.client import _Client, connection_of
from cove._transport.connection import Server
from cove._transport.methods import Unary
from cove.wire import control_pb2

_CREATE: Final = Unary(
    "/cove.v1.Control/TokenCreate",
    control_pb2.TokenCreateRequest.SerializeToString,
    control_pb2.TokenCreateResponse.FromString,
    repeatable=False,  # each makes another token
)
_LIST: Final = Unary(
    "/cove.v1.Control/TokenList", control_pb2.TokenListRequest.SerializeToString, control_pb2.TokenListResponse.FromString, repeatable=True
)
_REVOKE: Final = Unary(
    "/cove.v1.Control/TokenRevoke",
    control_pb2.TokenRevokeRequest.SerializeToString,
    control_pb2.TokenRevokeResponse.FromString,
    repeatable=True,
)


async def create(name: str) -> control_pb2.TokenCreateResponse:
    """A new token of the workspace; its secret is never told again."""
    return await connection_of(None).control.call(_CREATE, control_pb2.TokenCreateRequest(name=name))


async def list_() -> list[control_pb2.TokenInfo]:
    """Every token of the workspace, revoked ones too."""
    return list((await connection_of(None).control.call(_LIST, control_pb2.TokenListRequest())).tokens)


async def revoke(token_id: str) -> None:
    """End a token. Raises: NotFoundError."""
    await connection_of(None).control.call(_REVOKE, control_pb2.TokenRevokeRequest(token_id=token_id))


async def verify(address: str, token_id: str, token_secret: str) -> None:
    """Ask the server at ``address`` whether the token is good. Raises: AuthError, ConnectionError, VersionError."""
    await _Client(Server(address=address, token_id=token_id, token_secret=token_secret, reconnect_s=0)).hello()

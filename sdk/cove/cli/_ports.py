"""Tunnels and connect tokens for commands."""

from __future__ import annotations

import json
from typing import Any

from cove._async.client import connection_of
from cove._async.sandbox import _Sandbox
from cove._transport.methods import CONNECT_TOKEN_LIST
from cove.exception import InvalidError
from cove.tunnel import Tunnel
from cove.wire import ingress_pb2


def tunnel_facts(port: int, tunnel: Tunnel) -> dict[str, Any]:
    """One tunnel for JSON."""
    tcp = f"{tunnel.unencrypted_host}:{tunnel.unencrypted_port}" if tunnel.unencrypted_host else None
    return {"port": port, "url": tunnel.url, "tls": f"{tunnel.host}:{tunnel.port}", "tcp": tcp}


async def tokens(sandbox: _Sandbox) -> list[dict[str, Any]]:
    """Its connect tokens for JSON, oldest first; none of them can be made from this."""
    request = ingress_pb2.ConnectTokenListRequest(sandbox_id=sandbox.object_id)
    answer = await connection_of(None).control.call(CONNECT_TOKEN_LIST, request)
    return [
        {
            "token_id": token.token_id,
            "user_metadata": token.user_metadata or None,
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "revoked": token.revoked,
        }
        for token in answer.tokens
    ]


def metadata(text: str | None) -> str | None:
    """What the user gave as metadata, which must be JSON on the command line: so a mistyped quote does not go unnoticed.

    Raises:  InvalidError: it is none.
    """
    if text is None:
        return None
    try:
        json.loads(text)
    except ValueError as error:
        raise InvalidError(f"--user is no JSON: {error}.", remedy="""Write --user '{"name": "value"}'.""") from error
    return text

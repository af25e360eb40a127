"""What every method of the fake goes through: counting, credentials, ordered faults, errors as the real servers send them."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from cove.exception import AuthError, Error
from cove.wire.errors import abort
from tests.support.fake_server.world import TOKEN_ID, TOKEN_SECRET, World


class Servicer(Protocol):
    world: World

    def check(self, metadata: dict[str, str | bytes]) -> None:
        """Raises:  AuthError: the caller may not."""


def check_client(metadata: dict[str, str | bytes]) -> None:
    """As a router does."""
    if (metadata.get("cove-token-id"), metadata.get("cove-token-secret")) != (TOKEN_ID, TOKEN_SECRET):
        raise AuthError("The credentials are wrong.", remedy="Use others.")


def check_bearer(world: World, authorization: str | bytes | None) -> None:
    """As a node does."""
    if authorization != f"Bearer {world.token}":
        expired = isinstance(authorization, str) and authorization.startswith("Bearer token-")
        raise AuthError("The access token is not good.", code="token_expired" if expired else "unauthenticated")


def _admit(servicer: Servicer, name: str, context: Any) -> None:
    servicer.world.count(name)
    faults = servicer.world.fail_next.get(name)
    if faults:
        raise faults.pop(0)
    servicer.check(dict(context.invocation_metadata()))


def unary(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a method with one answer."""

    @functools.wraps(method)
    async def serve(self: Servicer, request: Any, context: Any) -> Any:
        try:
            _admit(self, method.__name__, context)
            return await method(self, request)
        except Error as error:
            return await abort(context, error)

    return serve


def streaming(method: Callable[..., AsyncIterator[Any]]) -> Callable[..., Any]:
    """Decorator of a method that answers with a stream."""

    @functools.wraps(method)
    async def serve(self: Servicer, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            _admit(self, method.__name__, context)
            async for answer in method(self, request):
                yield answer
        except Error as error:
            await abort(context, error)

    return serve

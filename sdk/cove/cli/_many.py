"""What commands do with many things: read a list to the end that is wanted, and do something to each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from cove._async.client import connection_of
from cove._transport.methods import Unary
from cove.exception import ConnectionError, Error

PAGE: Final = 500


class Asking(Protocol):
    """A request for a page."""

    cursor: str
    limit: int


Q = TypeVar("Q", bound=Asking)
T = TypeVar("T")


async def first(limit: int, method: Unary[Q, Any], request: Q, items: Callable[[Any], Iterable[T]]) -> list[T]:
    """The first ``limit`` things of a list that the server tells in pages; ``items`` takes them out of one."""
    control = connection_of(None).control
    request.limit = min(limit, PAGE)
    found: list[T] = []
    while len(found) < limit:
        page = await control.call(method, request)
        found += items(page)
        if not page.next_cursor:
            break
        request.cursor = page.next_cursor
    return found[:limit]


async def each(names: Sequence[str], act: Callable[[str], Awaitable[object]]) -> list[Error]:
    """Do it to each, one after the other; what went wrong. One that fails does not keep the others, a lost server does."""
    failures: list[Error] = []
    for name in names:
        try:
            await act(name)
        except ConnectionError:
            raise
        except Error as error:
            failures.append(error)
    return failures

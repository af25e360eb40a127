"""Errors of registries and nodes, as clients shall hear of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cove.exception import ConnectionError, RemoteError


@contextmanager
def as_ours() -> Iterator[None]:
    """Let errors leave the block one by one, and none that a client takes for a lost connection to this router.

    Raises:  RemoteError: somebody else could not be reached. The first error of a group. Others as they are.
    """
    try:
        yield
    except ExceptionGroup as group:
        error = _first(group)
        raise (_elsewhere(error) if isinstance(error, ConnectionError) else error) from group
    except ConnectionError as error:
        raise _elsewhere(error) from error


def _elsewhere(error: ConnectionError) -> RemoteError:
    return RemoteError(error.cause, remedy=error.remedy, retryable=True)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The error that a task group was left by."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error

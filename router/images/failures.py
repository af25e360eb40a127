"""Errors of registries and nodes, as clients shall hear of them. Pure."""

from __future__ import annotations

from cove.exception import ConnectionError, RemoteError


def as_ours(error: Exception) -> Exception:
    """``error``; where somebody else could not be reached, one that no client takes for a lost connection to this router."""
    if isinstance(error, ConnectionError):
        return RemoteError(error.cause, remedy=error.remedy, retryable=True)
    return error

"""Tokens whose signature has been checked: checking costs 160 us, as much as the rest of passing a request on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

MAX_TOKENS: Final = 4_096
"""Remembered; beyond that the one that came first is checked anew."""


class Claims(Protocol):
    """What a token says."""

    @property
    def expires_at(self) -> float: ...


C = TypeVar("C", bound=Claims)


class Verified(Generic[C]):
    """Claims by token.

    Args:
        verify: checks a token. Raises AuthError.
        is_over: whether a token that ends at that time has ended.
    """

    def __init__(self, verify: Callable[[str], C], is_over: Callable[[float], bool]) -> None:
        self._verify, self._is_over = verify, is_over
        self._known: OrderedDict[str, C] = OrderedDict()

    def __call__(self, token: str) -> C:
        """The claims of ``token``. Raises: AuthError."""
        claims = self._known.get(token)
        if claims is None or self._is_over(claims.expires_at):
            claims = self._verify(token)
            self._known[token] = claims
            if len(self._known) > MAX_TOKENS:
                self._known.popitem(last=False)
        return claims

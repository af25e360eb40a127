"""Authentication with one registry: anonymous, basic, or a bearer token for each scope.

What is needed is learned from the registry's first 401. Rules that keep credentials where they belong:

- they go to the registry itself, and to the token service that it names, over TLS or loopback, and nowhere else;
- a challenge counts only if the registry itself sent it: not a mirror with our credentials, not the target of a redirect;
- the scope is the one we need, whatever the challenge asks for; neither side can make a token wider.

Source: CNCF distribution, "Token Authentication Specification".
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from yarl import URL

from cove.exception import AuthError, Error, ServiceError
from snapshots.registry.challenge import Challenge, parse_challenges
from snapshots.registry.credentials import Credentials
from snapshots.registry.endpoints import Endpoint, shown
from snapshots.registry.failures import MAX_ERROR_BYTES, error_of, network_failures
from snapshots.registry.manifest import decode_json
from snapshots.registry.network import Network
from snapshots.registry.reference import is_loopback
from snapshots.registry.settings import RegistrySettings

MIN_LIFETIME_S: Final = 60.0
"""Of a token that says nothing, or less, about how long it lives; from the specification."""
MAX_LIFETIME_S: Final = 3_600.0
SLACK_S: Final = 15.0
"""A token is renewed so long before its end: it must outlive the request that it goes with."""
MAX_TOKEN_BYTES: Final = 1 << 20

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,65536}")


class _RawToken(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


class _Token(msgspec.Struct, frozen=True):
    value: str
    expires_at_s: float
    """By the clock of the authenticator."""

    def __repr__(self) -> str:
        return f"_Token(expires_at_s={self.expires_at_s})"


class Authenticator:
    """Says what to put into ``Authorization`` for one endpoint. Safe for concurrent requests: they share one token."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials | None,
        network: Network,
        settings: RegistrySettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials if not endpoint.is_mirror else None
        self._network = network
        self._settings = settings
        self._clock = clock
        self._lock = asyncio.Lock()
        self._bearer: Challenge | None = None
        self._is_basic = False
        self._tokens: dict[str, _Token] = {}

    @property
    def credentials(self) -> Credentials | None:
        """Those in use here; for errors."""
        return self._credentials

    async def authorization(self, scope: str) -> str | None:
        """The header for a request with ``scope`` (space-separated); None as long as nothing was asked for."""
        if self._is_basic:
            return self._trusted_credentials().basic()
        if self._bearer is None:
            return None
        async with self._lock:
            token = self._tokens.get(scope)
            if token is None or token.expires_at_s <= self._clock():
                token = self._tokens[scope] = await self._fetch(self._bearer, scope)
            return f"Bearer {token.value}"

    async def challenged(self, headers: Sequence[str], scope: str, used: str | None) -> bool:
        """Take in the ``WWW-Authenticate`` headers of a 401 of the endpoint itself; ``used`` is what the request had.

        Returns:  whether to ask again, with what :meth:`authorization` says then.
        Raises:   AuthError: nothing that we have or can do.
        """
        challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(headers))}
        if "bearer" in challenges:
            self._is_basic, self._bearer = False, challenges["bearer"]
            token = self._tokens.get(scope)
            if token is not None and used == f"Bearer {token.value}":
                del self._tokens[scope]  # it ended early, or was revoked
            return True
        if "basic" in challenges and self._credentials is not None:
            self._is_basic, self._bearer = True, None
            return used is None or not used.startswith("Basic ")
        if challenges and "basic" not in challenges:
            names = ", ".join(name[:20] for name in list(challenges)[:4])
            raise AuthError(f"The registry {self._endpoint.shown} asks for {names}; cove speaks basic and bearer.")
        return False

    def _trusted_credentials(self) -> Credentials:
        """Raises:  AuthError: none may be sent here."""
        if self._credentials is None or not self._endpoint.may_have_credentials:
            raise AuthError(
                f"The registry {self._endpoint.shown} asks for credentials over plain HTTP.",
                remedy="Have it speak TLS: credentials go over TLS or loopback only.",
            )
        return self._credentials

    async def _fetch(self, challenge: Challenge, scope: str) -> _Token:
        realm = self._realm(challenge)
        headers = {"Authorization": self._trusted_credentials().basic()} if self._credentials else {}
        query = [("scope", part) for part in scope.split()]
        if service := challenge.parameters.get("service"):
            query.append(("service", service))
        asked_at_s = self._clock()
        status, body, retry_after = await self._get(realm.extend_query(query), headers)
        if status != 200:
            raise self._refused(status, body, realm, retry_after)
        return self._token(body, asked_at_s, realm)

    def _realm(self, challenge: Challenge) -> URL:
        """Raises:  AuthError: the token service is not one that credentials, or even a request, may go to."""
        try:
            realm = URL(challenge.parameters.get("realm", ""))
        except ValueError:
            realm = URL()
        host = realm.host_port_subcomponent or ""
        if realm.scheme not in ("http", "https") or not host or realm.user is not None or realm.password is not None:
            raise AuthError(f"The registry {self._endpoint.shown} names no token service.")
        local = is_loopback(host)
        if local and not is_loopback(self._endpoint.shown):
            raise AuthError(f"The registry {self._endpoint.shown} names a token service on this machine's loopback.")
        if realm.scheme != "https" and not local:
            raise AuthError(f"The token service {host} of {self._endpoint.shown} does not use TLS.", remedy="Have it speak TLS.")
        return realm.with_fragment(None)

    async def _get(self, url: URL, headers: dict[str, str]) -> tuple[int, bytes, str | None]:
        """Status, body and ``Retry-After``. Redirects are not followed: the credentials are for this service."""
        with network_failures(shown(url)):
            async with asyncio.timeout(self._settings.document_timeout_s):
                async with self._network.session.get(
                    url, headers=headers, allow_redirects=False, proxy=self._network.proxy(url)
                ) as response:
                    limit = MAX_TOKEN_BYTES if response.status == 200 else MAX_ERROR_BYTES
                    body = bytearray()
                    async for chunk in response.content.iter_any():
                        body += chunk
                        if len(body) > limit:
                            raise ServiceError(f"The token service {shown(url)} sends too much.", retryable=False)
                    return response.status, bytes(body), response.headers.get("Retry-After")

    def _refused(self, status: int, body: bytes, realm: URL, retry_after: str | None) -> Error:
        what = f"a token for {self._endpoint.shown}"
        # Some services answer 400 or 403 to a wrong password; what to do about it is the same.
        status = 401 if status in (400, 403) else status
        return error_of(
            status, what=what, host=shown(realm), body=body[:MAX_ERROR_BYTES], retry_after=retry_after, credentials=self._credentials
        )

    def _token(self, body: bytes, asked_at_s: float, realm: URL) -> _Token:
        try:
            raw = decode_json(body, _RawToken, "token", MAX_TOKEN_BYTES)
        except Error:
            raise AuthError(f"The token service {shown(realm)} sent no token.") from None
        value = raw.token or raw.access_token or ""
        if not _TOKEN.fullmatch(value):
            raise AuthError(f"The token service {shown(realm)} sent no token.")
        lifetime_s = min(max(raw.expires_in or 0.0, MIN_LIFETIME_S), MAX_LIFETIME_S)
        return _Token(value, asked_at_s + lifetime_s - SLACK_S)

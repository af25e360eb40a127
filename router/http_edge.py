"""The HTTP edge: proxied transfers, metrics and a health check; every error as JSON, as the data plane's contract has it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from cove.exception import AuthError, Error, InvalidError, NotFoundError
from cove.wire import http_errors
from router.auth import Authenticator
from router.grpc_edge import told
from router.ingress.blob_edge import BlobEdge
from router.ingress.http_proxy import HttpProxy
from router.metrics import Metrics
from router.terminal.edge import TerminalEdge

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_HEADER_BYTES: Final = 16_384


class HttpEdge:
    """The routes that are the router's own, beside the proxy's."""

    def __init__(self, proxy: HttpProxy, blobs: BlobEdge, terminals: TerminalEdge, authenticator: Authenticator, metrics: Metrics) -> None:
        self._proxy, self._blobs, self._terminals, self._authenticator, self._metrics = proxy, blobs, terminals, authenticator, metrics

    def app(self) -> web.Application:
        """The application with all routes."""
        app = web.Application(middlewares=[_errors_as_json], handler_args={"max_line_size": MAX_HEADER_BYTES})
        app.add_routes(
            [
                web.get("/healthz", self.healthz),
                web.get("/metrics", self.metrics),
                *self._proxy.handlers(),
                *self._blobs.handlers(),
                *self._terminals.handlers(),
            ]
        )
        app.on_shutdown.append(self._terminals.stop)
        return app

    async def healthz(self, request: web.Request) -> web.Response:
        """That this process serves, and nothing else: needs no token, as do only the files of the terminal's page."""
        return web.Response(text="ok\n")

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus metrics, for API tokens.

        Raises:  AuthError: not one.
        """
        token_id, secret = _credentials(request.headers.get("Authorization", ""))
        await self._authenticator.authenticate(token_id, secret, peer=request.remote or "")
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


@asynccontextmanager
async def serving(app: web.Application, address: str, *, shutdown_grace_s: float) -> AsyncIterator[str]:
    """Serve ``app``; gives host:port as bound.

    Raises:  InvalidError: the address is taken or not this machine's.
    """
    # No access log: paths and queries are users' data. Cancellation: a client that hangs up must not leave a transfer behind.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=shutdown_grace_s)
    await runner.setup()
    host, _, port = address.rpartition(":")
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        try:
            await site.start()
        except OSError as error:
            raise InvalidError(f"The router cannot listen on {address}.", remedy="Is another running? Else set http_address.") from error
        yield f"{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _credentials(header: str) -> tuple[str, str]:
    """Token id and secret from ``Basic base64(id:secret)`` or ``Bearer id:secret``."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            value = ""
    elif scheme.lower() != "bearer":
        value = ""
    token_id, separator, secret = value.strip().partition(":")
    if not separator:
        raise AuthError("The call carries no API token.", remedy="Send it as HTTP basic credentials or as `Bearer <id>:<secret>`.")
    return token_id, secret


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status == 405:
            return _as_json(NotFoundError("There is nothing here for this method."), 405)
        return _as_json(NotFoundError("There is nothing here."), error.status)
    except Exception as error:  # the edge: everything becomes a status
        known = told(request.method, error)
        return _as_json(known, http_errors.status_of(known))


def _as_json(error: Error, status: int) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return web.Response(status=status, body=http_errors.encode(error), content_type="application/json", headers=headers)

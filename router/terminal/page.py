"""The page of a terminal: its files, and the headers that keep everybody else out of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from importlib import resources
from typing import Final

from aiohttp import web

from cove.exception import NotFoundError

_STATIC: Final = resources.files("router.terminal") / "static"

_PAGE: Final = (_STATIC / "terminal.html").read_text("utf-8")

_JAVASCRIPT: Final = "text/javascript"
_CSS: Final = "text/css"
_ASSETS: Final[Mapping[str, tuple[bytes, str]]] = {
    path.name: (path.read_bytes(), kind)
    for path, kind in (
        (_STATIC / "terminal.js", _JAVASCRIPT),
        (_STATIC / "link.js", _JAVASCRIPT),
        (_STATIC / "questions.js", _JAVASCRIPT),
        (_STATIC / "terminal.css", _CSS),
        (_STATIC / "vendor" / "xterm.mjs", _JAVASCRIPT),
        (_STATIC / "vendor" / "addon-fit.mjs", _JAVASCRIPT),
        (_STATIC / "vendor" / "xterm.css", _CSS),
    )
}

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer."""

# xterm.js puts style sheets of its own into the page, which the nonce allows, and colours of 24 bits into `style` attributes, which only
# 'unsafe-inline' can: it allows attributes alone, in a page that is never made from anybody's text and may load nothing.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'nonce-{nonce}'",
        "style-src-attr 'unsafe-inline'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def page() -> web.Response:
    """The page, the same for every terminal but for its nonce."""
    nonce = secrets.token_urlsafe(16)
    headers = {**HEADERS, "Content-Security-Policy": _POLICY.format(nonce=nonce)}
    return web.Response(text=_PAGE.replace("{nonce}", nonce), content_type="text/html", charset="utf-8", headers=headers)


def asset(name: str) -> web.Response:
    """One of its files. Raises: NotFoundError."""
    if name not in _ASSETS:
        raise NotFoundError("There is nothing here.")
    body, content_type = _ASSETS[name]
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers=HEADERS)

"""A web terminal in a real browser, for tests that look at its screen."""

from __future__ import annotations

from typing import Final

from yarl import URL

import cove
from tests.support.chromium import Chromium, Tab

PROMPT: Final = r"# *$"

_TERMINAL: Final = "import('/terminal/assets/xterm.mjs').then((module) => module.Terminal.prototype)"
_LINES: Final = """function() {
  const buffer = this.buffer.active, lines = [];
  for (let at = 0; at < buffer.length; at++) lines.push(buffer.getLine(at).translateToString(true));
  return lines;
}"""


async def link(sandbox: cove.Sandbox, *command: str) -> str:
    """Opens a terminal once."""
    return (await sandbox.create_terminal.aio(*command)).url


async def terminal(browser: Chromium, sandbox: cove.Sandbox, *command: str, port: int | None = None) -> Tab:
    """A page with a terminal; ``port``: of a proxy to go through."""
    tab = await browser.tab()
    url = await link(sandbox, *command)
    await tab.open(str(URL(url).with_port(port)) if port else url)
    return tab


async def lines(tab: Tab) -> list[str]:
    """Everything on the screen and above it."""
    found: list[str] = await tab.ask(await tab.object_of(_TERMINAL), _LINES)
    return found

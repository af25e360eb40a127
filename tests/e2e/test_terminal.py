"""The web terminal in a real browser: what is typed runs, what runs is seen, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import cove
from tests.support.chromium import Chromium, Tab, chromium

PROMPT = "# *$"

pytestmark = [pytest.mark.usefixtures("live"), pytest.mark.needs_chromium]


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    async with chromium() as running:
        yield running


async def link(sandbox: cove.Sandbox, *command: str) -> str:
    return (await sandbox.create_terminal.aio(*command)).url


async def terminal(browser: Chromium, sandbox: cove.Sandbox, *command: str) -> Tab:
    tab = await browser.tab()
    await tab.open(await link(sandbox, *command))
    return tab


async def test_what_is_typed_runs_and_is_seen(browser: Chromium, shared: cove.Sandbox) -> None:
    tab = await terminal(browser, shared)
    await tab.see(PROMPT)
    await tab.type("echo $((6*7)) ünïcode\r")
    await tab.see("^42 ünïcode *$")
    assert await tab.evaluate("location.hash + location.search") == ""
    await tab.type("exit 3\r")
    assert "exit code 3" in await tab.see("exit code", "#banner")
    assert browser.complaints == []

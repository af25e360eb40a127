"""The web terminal in a real browser: what is typed runs, what runs is seen, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

import cove
from tests.support.browser_terminal import PROMPT, lines, link, terminal
from tests.support.chromium import Chromium
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes
from tests.support.s3_proxy import Proxy

BANNER = "#banner"
PROGRAM = [sys.executable, "-c", "from cove.cli import main; main()"]

pytestmark = [pytest.mark.usefixtures("live"), pytest.mark.needs_chromium]


async def test_what_is_typed_runs_and_is_seen(browser: Chromium, shared: cove.Sandbox) -> None:
    tab = await terminal(browser, shared)
    await tab.see(PROMPT)
    await tab.type("echo $((6*7)) ünïcode 漢字 🦊\r")
    await tab.see("^42 ünïcode 漢字 🦊")
    assert await tab.evaluate("location.hash + location.search + document.cookie") == ""
    assert shared.object_id in await tab.evaluate("document.title")
    await tab.type("printf '\\033[38;2;1;2;3mcolour\\033[0m\\n'\r")
    await tab.see("^colour *$")
    await tab.type("exit 3\r")
    assert "exit code 3" in await tab.see("exit code", BANNER)


async def test_the_process_knows_the_size_of_the_window(browser: Chromium, shared: cove.Sandbox) -> None:
    tab = await terminal(browser, shared)
    await tab.see(PROMPT)
    for width, height in ((700, 400), (1000, 700)):
        before = await tab.text("#size")
        await tab.resize(width, height)
        columns, rows = (await tab.see(rf"^(?!{before}$)\d+×\d+$", "#size")).split("×")
        await tab.type("stty size\r")
        await tab.see(rf"^{rows} {columns} *$")


async def test_a_page_loaded_again_has_what_was_there(browser: Chromium, shared: cove.Sandbox) -> None:
    tab = await terminal(browser, shared)
    await tab.see(PROMPT)
    await tab.type("seq 1 3000; name=kept\r")
    await tab.see(r"^3000 *\n.*# *$")
    await tab.reload()
    await tab.see(r"^3000 *\n.*# *$")
    assert [line for line in await lines(tab) if line.isdigit()] == [str(number) for number in range(1, 3001)]
    await tab.type("echo $name; exit\r")
    await tab.see("^kept *$")
    await tab.see("exit code 0", BANNER)


async def test_output_that_is_shown_again_is_not_answered_again(browser: Chromium, shared: cove.Sandbox) -> None:
    """Programs ask their terminal where its cursor is; the answer is typed to them."""
    tab = await terminal(browser, shared)
    await tab.see(PROMPT)
    await tab.type("stty -echo; printf '\\033[6n'; read -rsd R answer; stty echo; echo row ${answer#*[}; cat -v\r")
    await tab.see(r"^row \d+;1 *$")
    await tab.reload()
    await tab.see(r"^row \d+;1 *$")
    await tab.type("typed\r")
    await tab.see(r"^typed *\ntyped *$")
    second = await browser.tab(beside=tab)
    await second.open(await tab.evaluate("location.href"))
    await second.see(r"^typed *\ntyped *$")
    await second.type("x\r")
    assert "^[" not in await second.see(r"^x *\nx *$")


async def test_a_connection_that_breaks_loses_and_doubles_nothing(browser: Chromium, shared: cove.Sandbox, live: LiveCove) -> None:
    async with Proxy(live.router_http_port).run() as proxy:
        tab = await terminal(browser, shared, port=proxy.port)
        await tab.see(PROMPT)
        proxy.cuts, proxy.cut_down_after = 3, proxy.down + 10_000
        # Without echo: what is typed while lines still come would show in the middle of one.
        await tab.type("stty -echo; for n in $(seq 1 5000); do echo line $n; done; read answer; echo got $answer; stty echo\r")
        await tab.see("Reconnecting", BANNER)
        await tab.type("meanwhile\r")
        await tab.see("^got meanwhile *$")
        await tab.see("^$", BANNER)
        numbered = [line for line in await lines(tab) if line.startswith("line ") and line[5:].isdigit()]
        assert numbered == [f"line {number}" for number in range(1, 5001)]
        assert proxy.cuts < 0
    browser.complaints.clear()  # that the connection was refused, while it was


async def test_a_link_opens_once(browser: Chromium, shared: cove.Sandbox) -> None:
    url = await link(shared)
    first, second = await browser.tab(), await browser.tab()
    await first.open(url)
    await first.see(PROMPT)
    await second.open(url)
    assert "cove sandbox terminal" in await second.see("over", BANNER)
    assert await second.text() == ""
    same = await browser.tab(beside=first)
    await same.open(url)
    await same.see(PROMPT)
    assert [text for text in browser.complaints if "401" not in text] == []
    browser.complaints.clear()


async def test_pages_of_another_port_of_this_host_get_nothing(browser: Chromium, shared: cove.Sandbox, live: LiveCove) -> None:
    """To a browser they are the same site, and cookies do not tell ports apart."""
    async with Proxy(live.router_http_port).run() as proxy:
        tab = await terminal(browser, shared)
        await tab.see(PROMPT)
        address = await tab.evaluate("location.href")
        other = await browser.tab(beside=tab)
        await other.open(f"http://127.0.0.1:{proxy.port}/healthz")
        await other.see("ok", "body")
        socket = f"""new Promise((resolve) => {{
          const socket = new WebSocket({json.dumps(address.replace("http:", "ws:") + "/socket")});
          socket.onopen = () => resolve("open");
          socket.onerror = () => resolve("refused");
        }})"""
        assert await other.evaluate(socket) == "refused"
        session = json.dumps(f"{address}/session")
        assert await other.evaluate(f"fetch({session}, {{credentials: 'include'}}).then(() => 'read', () => 'refused')") == "refused"
        frame = f"""new Promise((resolve) => {{
          const frame = document.createElement("iframe");
          frame.onload = () => resolve(frame.contentDocument === null ? "hidden" : frame.contentDocument.body.innerText);
          frame.src = {json.dumps(address)};
          document.body.append(frame);
        }})"""
        assert await other.evaluate(frame) == "hidden"
        assert any("frame-ancestors" in text or "X-Frame-Options" in text for text in browser.complaints)
        browser.complaints.clear()


async def test_two_pages_show_the_same(browser: Chromium, shared: cove.Sandbox) -> None:
    first = await terminal(browser, shared)
    await first.see(PROMPT)
    second = await browser.tab(beside=first)
    await second.open(await first.evaluate("location.href"))
    await second.see(PROMPT)
    await first.type("echo from $((1)); ")
    await second.see("echo from")
    await second.type("echo and $((2))\r")
    for tab in (first, second):
        await tab.see(r"^from 1 *\nand 2 *$")


async def test_copy_and_paste(browser: Chromium, shared: cove.Sandbox) -> None:
    tab = await terminal(browser, shared)
    await browser.allow_clipboard(tab)
    await tab.see(PROMPT)
    await tab.type("echo pasted-$((40+2))\r")
    await tab.see("^pasted-42 *$")
    row = (await tab.text()).split("\n").index(next(line for line in (await tab.text()).split("\n") if line.startswith("pasted-42")))
    await tab.double_click(f".xterm-rows > div:nth-child({row + 1})")
    await tab.control("c", shift=True)
    async with asyncio.timeout(10):  # the page may still be handing it over
        while "pasted-42" not in await tab.evaluate("navigator.clipboard.readText()"):  # noqa: ASYNC110 - a clipboard has no event
            await asyncio.sleep(0.05)
    await tab.type("echo '")
    await tab.control("v", shift=True, commands=("paste",))
    await tab.type("'twice\r")
    await tab.see("^pasted-42twice *$")
    await tab.control("c")
    await tab.see(r"\^C")


async def test_much_output_neither_drowns_the_page_nor_is_it_lost(browser: Chromium, shared: cove.Sandbox) -> None:
    tab = await terminal(browser, shared)
    await tab.see(PROMPT)
    await tab.type("seq 1 1500000; echo done $((1))\r")
    await tab.see(r"^1500000 *\ndone 1 *$")
    assert [line for line in await lines(tab) if line.isdigit()][-9000:] == [str(number) for number in range(1_491_001, 1_500_001)]


async def test_the_end_of_the_sandbox_is_shown(browser: Chromium, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    tab = await terminal(browser, sandbox)
    await tab.see(PROMPT)
    await sandbox.terminate.aio()
    text = await tab.see("exit code 137", BANNER)
    assert "The sandbox ended" in text and "terminated" in text


async def test_a_command_that_is_not_there_is_said(browser: Chromium, shared: cove.Sandbox) -> None:
    tab = await terminal(browser, shared, "/no/such/program")
    assert "No such file" in await tab.see("could not be started", BANNER)


async def test_revoking_the_api_token_hangs_up_what_the_shell_started(browser: Chromium, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    token = json.loads(cli("token", "new", "--json"))
    client = await cove.Client.from_credentials.aio(token["token_id"], token["token_secret"])
    tab = await terminal(browser, await cove.Sandbox.from_id.aio(sandbox.object_id, client=client))
    await tab.see(PROMPT)
    await tab.type("tail -f /dev/null & (tail -f /dev/null; true) & tail -f /dev/null\r")
    await until_there_are(sandbox, 3, "tail")
    cli("token", "revoke", token["token_id"], "-y")
    await tab.see("session is over", BANNER)
    await until_there_are(sandbox, 0, "tail")
    await until_there_are(sandbox, 0, "bash")


def cli(*arguments: str) -> bytes:
    """Output of the program."""
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, timeout=90, check=True).stdout


async def until_there_are(sandbox: cove.Sandbox, count: int, name: str) -> None:
    """Return when so many processes inside have this name."""
    script = f"until [ $(cat /proc/[0-9]*/comm 2>/dev/null | grep -cx {name}) = {count} ]; do sleep 0.1; done"
    assert await (await sandbox.exec.aio("sh", "-c", script, timeout=60)).wait.aio() == 0

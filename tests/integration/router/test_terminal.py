"""The web terminal between a page and a node with simulated sandboxes: who gets in, and what arrives whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cove.exception import ConflictError, NotFoundError
from cove.types import new_id
from cove.wire import control_pb2
from router.auth import Credentials
from router.settings import RouterSettings
from router.terminal import attachment
from router.terminal.live import MAX_PAGES
from router.terminal.messages import WINDOW_BYTES
from sandboxd.processes import ProcessState
from sandboxd.sim.runtime import SimMachine
from sandboxd.spool import CHUNK_BYTES
from tests.integration.router.conftest import Clock, Cluster, running_cluster, settings_for
from tests.support.sim_node import SimDaemon, simulated
from tests.support.terminal_page import Browser, Page

VIOLATION, TOO_BIG, TRY_AGAIN, EXITED, OVER, FAILED = 1008, 1009, 1013, 4000, 4001, 4002


class Place:
    """A router, a node daemon over simulated sandboxes, and one sandbox."""

    def __init__(self, cluster: Cluster, daemon: SimDaemon, sandbox_id: str, stack: AsyncExitStack) -> None:
        self.cluster, self.daemon, self.sandbox_id, self._stack = cluster, daemon, sandbox_id, stack

    async def link(self, *argv: str, **changes: Any) -> str:
        request = control_pb2.TerminalCreateRequest(sandbox_id=self.sandbox_id, argv=[one.encode() for one in argv], **changes)
        answer: control_pb2.TerminalCreateResponse = await self.cluster.client.call("TerminalCreate", request)
        return answer.url

    async def browser(self, *argv: str) -> Browser:
        """With a session already."""
        browser = Browser(await self.session(), await self.link(*argv))
        assert (await browser.redeem()).status == 200
        return browser

    async def session(self) -> aiohttp.ClientSession:
        # The addresses of tests are IP addresses, which aiohttp's jar refuses cookies of by default.
        jar = aiohttp.CookieJar(unsafe=True)
        return await self._stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))

    @property
    def processes(self) -> dict[str, ProcessState]:
        """Of the sandbox, by command."""
        return {b" ".join(one.started.argv).decode(): one.state for one in self.daemon.node.get(self.sandbox_id).processes}

    async def sweep(self) -> None:
        await self.cluster.router.parts.terminals.keeper.sweep()


@pytest.fixture
async def machine() -> AsyncIterator[SimMachine]:
    async with simulated() as machine:
        yield machine


@asynccontextmanager
async def running_place(
    machine: SimMachine, tmp_path: Path, settings: RouterSettings, *, sandbox_id: str = "", clock: Clock | None = None
) -> AsyncIterator[Place]:
    """``sandbox_id``: one that an earlier router made; empty: a new one."""
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(SimDaemon(machine, tmp_path, Ed25519PrivateKey.generate()).running(spool_bytes=8 * 2**20))
        cluster = await stack.enter_async_context(running_cluster(settings, clock))
        await stack.enter_async_context(daemon.joined(cluster.router.grpc_address, settings.router_dir / "join-token"))
        if not sandbox_id:
            sandbox_id = (await cluster.client.create(await cluster.client.app())).sandbox_id
        yield Place(cluster, daemon, sandbox_id, stack)


@pytest.fixture
async def place(machine: SimMachine, tmp_path: Path) -> AsyncIterator[Place]:
    async with running_place(machine, tmp_path, settings_for(tmp_path)) as found:
        yield found


def spewed(length: int) -> bytes:
    """What ``spew`` writes."""
    return (bytes(range(251)) * (length // 251 + 1))[:length]


# --- who gets in ------------------------------------------------------------------------------------------------------------------------


async def test_keys_go_in_and_output_comes_out(place: Place) -> None:
    browser = await place.browser("cat")
    async with browser.page() as page:
        await page.type(b"hello\r")
        await page.until(output=b"hello\r")
        await page.until(told="typed")
        assert page.told["leads"] == {"leads": True}
    assert place.processes["cat"] is ProcessState.RUNNING


async def test_a_link_opens_once(place: Place) -> None:
    browser = await place.browser("cat")
    again = await browser.redeem()
    assert (again.status, (await again.json())["code"]) == (401, "unauthenticated")
    stranger = Browser(await place.session(), str(browser.link))
    assert (await stranger.redeem()).status == 401
    for tail in ("session", "socket"):
        async with stranger.session.get(stranger.url(tail), headers=browser.headers) as response:
            assert response.status == 401


async def test_the_cookie_is_kept_from_scripts_other_sites_and_other_paths(place: Place) -> None:
    browser = Browser(await place.session(), await place.link("cat"))
    response = await browser.redeem()
    cookie = response.cookies[f"cove-{browser.terminal_id}"]
    assert (cookie["path"], cookie["samesite"], cookie["httponly"]) == (f"/terminal/{browser.terminal_id}", "Strict", True)
    assert 0 < int(cookie["max-age"]) <= 12 * 3600
    assert response.headers["Cache-Control"] == "no-store"
    assert browser.link.fragment not in await response.text()


async def test_https_links_have_secure_cookies_and_an_origin_of_their_own(machine: SimMachine, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, advertised_http_url="https://cove.example/base/")
    async with running_place(machine, tmp_path, settings) as place:
        link = await place.link("cat")
        assert link.startswith("https://cove.example/base/terminal/te-")
        browser = Browser(await place.session(), link.replace("https://cove.example/base", place.cluster.http))
        assert (await browser.redeem()).status == 403
        response = await browser.redeem(headers={"Origin": "https://cove.example"})
        cookie = response.cookies[f"cove-{browser.terminal_id}"]
        assert (cookie["secure"], cookie["path"]) == (True, f"/base/terminal/{browser.terminal_id}")


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "{own}/", "{own}.evil"])
async def test_pages_of_other_origins_get_nothing(place: Place, origin: str | None) -> None:
    browser = Browser(await place.session(), await place.link("cat"))
    headers = {"Origin": origin.replace("{own}", place.cluster.http)} if origin else {}
    assert (await browser.redeem(headers=headers)).status == 403
    assert (await browser.redeem()).status == 200
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await browser.session.ws_connect(browser.url("socket"), headers=headers)
    assert caught.value.status == 403


async def test_a_cookie_opens_its_own_terminal_only(place: Place) -> None:
    first, second = await place.browser("cat"), await place.browser("cat")
    (stolen,) = (cookie.value for cookie in first.session.cookie_jar)
    async with aiohttp.ClientSession(cookies={f"cove-{second.terminal_id}": stolen}, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(second.url("socket"), headers=second.headers)
    assert caught.value.status == 401


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", "application/json"), (b"[]", "application/json"), (b'{"ticket":1}', "application/json"), (b"\xff", "application/json")],
)
async def test_malformed_exchanges_are_refused(place: Place, body: bytes, kind: str) -> None:
    browser = Browser(await place.session(), await place.link("cat"))
    response = await browser.redeem(json=None, data=body, headers={**browser.headers, "Content-Type": kind})
    assert (response.status, (await response.json())["code"]) == (400, "invalid")


async def test_the_page_is_the_same_for_everybody_and_its_paths_are_few(place: Place) -> None:
    browser = Browser(await place.session(), await place.link("cat"))
    async with browser.session.get(browser.link) as response:
        assert response.status == 200
        assert place.sandbox_id not in await response.text()
    for tail in ("assets/../../../settings.py", "assets/terminal.html", "assets/", "te-1", f"{browser.terminal_id}/other", "..%2fapp.py"):
        async with browser.session.get(f"{place.cluster.http}/terminal/{tail}") as response:
            assert response.status == 404


async def test_only_sandboxes_of_the_workspace_have_terminals(place: Place) -> None:
    other = place.cluster.new_client(
        msgspec.convert(await place.cluster.router.parts.authenticator.create("elsewhere", "t"), Credentials, from_attributes=True)
    )
    with pytest.raises(NotFoundError):
        await other.call("TerminalCreate", control_pb2.TerminalCreateRequest(sandbox_id=place.sandbox_id))
    with pytest.raises(NotFoundError):
        await place.cluster.client.call("TerminalCreate", control_pb2.TerminalCreateRequest(sandbox_id=new_id("sb")))


# --- what arrives -----------------------------------------------------------------------------------------------------------------------


async def test_output_goes_on_where_the_connection_broke(place: Place) -> None:
    browser = await place.browser("spew", "3000000")
    seen = bytearray()
    while len(seen) < 3_000_000:
        async with browser.page(offset=len(seen)) as page:
            await page.until(output=min(500_000, 3_000_000 - len(seen)))
            seen += page.output
            page.socket._response.connection.transport.abort()  # type: ignore[union-attr]  # no closing handshake, as networks break
    assert bytes(seen) == spewed(3_000_000)


async def test_a_page_that_does_not_see_gets_no_more(place: Place) -> None:
    browser = await place.browser("spew", "5000000")
    async with browser.page() as page:
        page.sees = False
        await page.until(output=WINDOW_BYTES)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                while await page.step():
                    assert len(page.output) <= WINDOW_BYTES + CHUNK_BYTES
        page.sees = True
        await page.socket.send_json({"type": "seen", "offset": page.offset})
        await page.until(output=5_000_000, told="exited")
        assert bytes(page.output) == spewed(5_000_000)
        assert page.told["exited"] == {"exit_code": 0, "text": ""}
        assert await page.end() == EXITED


async def test_a_page_loaded_again_sees_it_all_from_the_start_also_after_the_end(place: Place) -> None:
    browser = await place.browser("exit", "3")
    for _ in range(2):
        async with browser.page() as page:
            assert await page.end() == EXITED
            assert page.told["exited"]["exit_code"] == 3
    assert len([command for command in place.processes if command == "exit 3"]) == 1


async def test_what_was_lost_for_want_of_room_is_known_by_its_offset(place: Place) -> None:
    browser = await place.browser("spew", "40000000")
    async with browser.page() as page:
        await page.until(output=0, told="attached")
        page.sees = False
        await page.until(output=WINDOW_BYTES)
        process = next(one for one in place.daemon.node.get(place.sandbox_id).processes if one.started.pty)
        await process.wait_ended()
        page.sees = True
        await page.socket.send_json({"type": "seen", "offset": page.offset})
        with pytest.raises(AssertionError, match=r"output from \d+, expected from 8388608"):
            await page.end()


async def test_keys_sent_again_on_another_connection_arrive_once(place: Place) -> None:
    browser = await place.browser("cat")
    async with browser.page() as page:
        await page.type(b"abc")
        await page.until(output=b"abc")
    async with browser.page(offset=3, taken=1, pending=4) as page:
        await page.until(told="attached")
        assert page.told["attached"]["taken"] == 3
        page.typed = 1
        await page.type(b"bcde")
        await page.until(output=b"de")
        assert page.output == b"de"


async def test_several_pages_see_the_same_and_the_last_one_leads(place: Place) -> None:
    browser = await place.browser("cat")
    async with browser.page(number=1) as first:
        await first.type(b"one ")
        await first.until(output=b"one ", told="leads")
        async with browser.page(number=2) as second:
            await second.until(output=b"one ", told="leads")
            await second.type(b"two ")
            for page in (first, second):
                await page.until(output=b"one two ")
            assert (first.told["leads"], second.told["leads"]) == ({"leads": False}, {"leads": True})
            await first.socket.send_json({"type": "resize", "rows": 30, "columns": 100})
            while not first.told["leads"]["leads"] or second.told["leads"]["leads"]:
                await (second if first.told["leads"]["leads"] else first).step()
            await second.socket.send_json({"type": "resize", "rows": 30, "columns": 100})
            while first.told["leads"]["leads"]:
                await first.step()
        while not first.told["leads"]["leads"]:
            await first.step()
    assert list(place.processes.values()) == [ProcessState.RUNNING]


async def test_a_terminal_has_so_many_pages(place: Place) -> None:
    browser = await place.browser("cat")
    async with AsyncExitStack() as stack:
        for number in range(MAX_PAGES):
            page = await stack.enter_async_context(browser.page(number=number))
            await page.until(told="attached")
        async with browser.page(number=99) as page:
            assert await page.end() == FAILED
            assert page.told["failed"]["code"] == "exhausted"


async def test_a_command_that_is_not_there_is_said_and_may_come(place: Place) -> None:
    browser = await place.browser("no-such-program")
    for _ in range(2):
        async with browser.page() as page:
            assert await page.end() == FAILED
            assert page.told["failed"]["code"] == "exec_failed"


async def test_the_end_of_the_sandbox_is_said(place: Place) -> None:
    browser = await place.browser("cat")
    async with browser.page() as page:
        await page.until(told="attached")
        await place.cluster.client.terminate(place.sandbox_id)
        assert await page.end() == EXITED
        assert page.told["exited"]["exit_code"] == 137
        assert "terminated" in page.told["exited"]["text"]
    with pytest.raises(ConflictError):
        await place.link("cat")


# --- what a page may not ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", VIOLATION),
        ("{}", VIOLATION),
        ('{"type":"attach"}', VIOLATION),
        ('{"type":"resize","rows":0,"columns":5}', VIOLATION),
        (b"", VIOLATION),
        (b"\0" * 8, VIOLATION),
        (b"\0" * 7 + b"\x09key", VIOLATION),
        (b"\xff" * 8 + b"key", VIOLATION),
        (b"\0" * 100_000, TOO_BIG),
        ("x" * 100_000, TOO_BIG),
    ],
)
async def test_a_page_that_breaks_the_rules_is_closed_and_others_go_on(place: Place, message: str | bytes, code: int) -> None:
    browser = await place.browser("cat")
    async with browser.page(number=1) as honest:
        async with browser.page(number=2) as page:
            await page.until(told="attached")
            await (page.socket.send_str(message) if isinstance(message, str) else page.socket.send_bytes(message))
            assert await page.end() == code
        await honest.type(b"still here")
        await honest.until(output=b"still here")


@pytest.mark.parametrize("first", ['{"type":"seen","offset":0}', "garbage", b"\0" * 9])
async def test_a_page_attaches_first(place: Place, first: str | bytes) -> None:
    browser = await place.browser("cat")
    async with browser.session.ws_connect(browser.url("socket"), headers=browser.headers) as socket:
        await (socket.send_str(first) if isinstance(first, str) else socket.send_bytes(first))
        assert await Page(socket).end() == VIOLATION
    assert place.processes == {}


async def test_a_page_that_says_nothing_is_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "ATTACH_S", 0.05)
    browser = await place.browser("cat")
    async with browser.session.ws_connect(browser.url("socket"), headers=browser.headers) as socket:
        assert await Page(socket).end() == VIOLATION


# --- how it ends --------------------------------------------------------------------------------------------------------------------------


async def hung_up(place: Place, browser: Browser, page: Page) -> None:
    """The session is over: the page is closed, its process was hung up, and the cookie opens nothing."""
    assert await page.end() == OVER
    process = next(iter(place.daemon.node.get(place.sandbox_id).processes))
    await process.wait_ended()
    assert (process.state, process.signal) == (ProcessState.SIGNALED, 1)
    async with browser.session.get(browser.url("session")) as response:
        assert response.status == 401
    assert await place.cluster.router.parts.db.terminals.get(browser.terminal_id) is None


async def test_an_unused_terminal_is_hung_up_and_a_used_one_is_not(place: Place) -> None:
    browser = await place.browser("cat")
    async with browser.page() as page:
        await page.until(told="attached")
        await place.sweep()
        place.cluster.clock.advance(3500)
        await page.type(b"x")
        await page.until(output=b"x")
        await place.sweep()
        place.cluster.clock.advance(3500)
        await place.sweep()
        await page.type(b"y")
        await page.until(output=b"xy")
        place.cluster.clock.advance(10)
        await place.sweep()
        place.cluster.clock.advance(3601)
        await place.sweep()
        await hung_up(place, browser, page)


async def test_a_terminal_without_a_page_is_hung_up_too(place: Place) -> None:
    browser = await place.browser("cat")
    async with browser.page() as page:
        await page.until(told="attached")
    place.cluster.clock.advance(3601)
    await place.sweep()  # writes down when the page left, which was before
    await place.sweep()
    process = next(iter(place.daemon.node.get(place.sandbox_id).processes))
    await process.wait_ended()
    assert process.signal == 1


async def test_a_terminal_ends_with_the_api_token_that_made_it(place: Place) -> None:
    credentials = await place.cluster.client.call("TokenCreate", control_pb2.TokenCreateRequest(name="t"))
    client = place.cluster.new_client(Credentials(credentials.token_id, credentials.token_secret))
    request = control_pb2.TerminalCreateRequest(sandbox_id=place.sandbox_id, argv=[b"cat"])
    browser = Browser(await place.session(), (await client.call("TerminalCreate", request)).url)
    await browser.redeem()
    async with browser.page() as page:
        await page.until(told="attached")
        await place.sweep()
        await place.cluster.client.call("TokenRevoke", control_pb2.TokenRevokeRequest(token_id=credentials.token_id))
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await browser.session.ws_connect(browser.url("socket"), headers=browser.headers)
        await place.sweep()
        await hung_up(place, browser, page)


async def test_a_link_that_nobody_opened_is_forgotten_and_started_nothing(place: Place) -> None:
    browser = Browser(await place.session(), await place.link("cat"))
    place.cluster.clock.advance(121)
    await place.sweep()
    assert await place.cluster.router.parts.db.terminals.get(browser.terminal_id) is None
    assert (await browser.redeem()).status == 401
    assert place.processes == {}


async def test_a_restart_of_the_router_loses_and_doubles_nothing(machine: SimMachine, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        settings = settings_for(tmp_path)
        async with running_place(machine, tmp_path, settings) as place:
            settings = settings_for(tmp_path, http_address=place.cluster.router.http_address)
            browser = await place.browser("cat")
            browser.session = await stack.enter_async_context(aiohttp.ClientSession(cookies=_cookies(browser)))
            page = await stack.enter_async_context(browser.page())
            await page.type(b"before ")
            await page.until(output=b"before ", told="typed")
            sandbox_id = place.sandbox_id
        assert await page.end() == TRY_AGAIN
        # The last three keys were sent and taken, but this page never heard so.
        known = {"taken": 4, "pending": 3, "stdin": 4, "offset": page.offset}
        async with running_place(machine, tmp_path, settings, sandbox_id=sandbox_id), browser.page(**known) as page:
            await page.until(told="attached")
            assert page.told["attached"] == {"total": 7, "taken": 7, "stdin": 7}
            page.typed = 7
            await page.type(b"after")
            await page.until(output=b"after")
            assert page.output == b"after"


def _cookies(browser: Browser) -> dict[str, str]:
    return {cookie.key: cookie.value for cookie in browser.session.cookie_jar}

"""A real Chromium, driven over its DevTools protocol: keys go in, what is on the screen comes out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

PROGRAM: Final = "/usr/bin/chromium"
START_S: Final = 30.0
STOP_S: Final = 10.0
SEEN_S: Final = 30.0
POLL_S: Final = 0.02

_OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",  # it refuses to start as root otherwise
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--remote-debugging-port=0",
    "--remote-debugging-address=127.0.0.1",
)

_CONTROL: Final = 2
_SHIFT: Final = 8

# Resolves when the element's text, no-break spaces made plain, has what is waited for.
_SEEN: Final = """new Promise((resolve) => {
  const look = () => {
    const text = [...document.querySelectorAll(%(selector)r)].map((one) => one.textContent).join("\\n").replaceAll("\\u00a0", " ");
    if (new RegExp(%(pattern)s, "m").test(text)) { observer.disconnect(); resolve(text); }
  };
  const observer = new MutationObserver(look);
  observer.observe(document.documentElement, { subtree: true, childList: true, characterData: true, attributes: true });
  look();
})"""


class DevToolsError(Exception):
    """Chromium refused a command, or a script in the page threw."""


class Connection:
    """Commands and their answers; of events those that are expected, and what pages complain of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._expected: dict[tuple[str, str], asyncio.Future[None]] = {}
        self.complaints: list[str] = []
        """What pages logged as errors: exceptions, and refusals of their security policy."""

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        await self._socket.send_json(message)
        return await future

    def expect(self, event: str, session: str) -> asyncio.Future[None]:
        """Done at the next ``event`` of a page."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected[event, session] = future
        return future

    async def listen(self) -> None:
        async for message in self._socket:
            answer = message.json()
            future = self._waiting.pop(answer.get("id", 0), None)
            if future is not None and not future.done():
                if "error" in answer:
                    future.set_exception(DevToolsError(answer["error"]["message"]))
                else:
                    future.set_result(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        expected = self._expected.pop((event.get("method", ""), event.get("sessionId", "")), None)
        if expected is not None and not expected.done():
            expected.set_result(None)
        if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.complaints.append(event["params"]["entry"]["text"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(event["params"]["exceptionDetails"]))


class Tab:
    """One page."""

    def __init__(self, connection: Connection, session: str) -> None:
        self._connection, self._session = connection, session

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self._connection.call(method, self._session, **parameters)

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def reload(self) -> None:
        """Return when the old page is gone."""
        loaded = self._connection.expect("Page.loadEventFired", self._session)
        await self.call("Page.reload")
        await loaded

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression or of the promise that it gives, as JSON has it."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise DevToolsError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def see(self, pattern: str, selector: str = ".xterm-rows > div") -> str:
        """Wait until the text of the elements matches a regular expression of JavaScript's; the text, a line for each element."""
        script = _SEEN % {"selector": selector, "pattern": _quoted(pattern)}
        last = DevToolsError("never asked")
        try:
            async with asyncio.timeout(SEEN_S):
                while True:
                    try:
                        return str(await self.evaluate(script))
                    except DevToolsError as error:  # the page was left meanwhile: its successor is asked
                        last = error
                        await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"{pattern!r} never came; the screen:\n{await self.text(selector)}\n{last}") from None

    async def text(self, selector: str = ".xterm-rows > div") -> str:
        """What the elements say now."""
        script = f"[...document.querySelectorAll({selector!r})].map((one) => one.textContent).join('\\n')"
        return str(await self.evaluate(script)).replace("\u00a0", " ")

    async def type(self, text: str) -> None:
        """Press a key for each character; ``\\r`` is Enter."""
        for character in text:
            if character == "\r":
                await self._press(key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
            elif ord(character) > 0xFFFF:  # no key of a keyboard: what an input method gives
                await self.call("Input.insertText", text=character)
            else:
                await self._press(key=character, text=character)

    async def control(self, letter: str, *, shift: bool = False, commands: tuple[str, ...] = ()) -> None:
        """Press Ctrl, perhaps Shift, and a letter. ``commands``: what the browser does at these keys where it has a menu."""
        modifiers = _CONTROL | (_SHIFT if shift else 0)
        key, number = letter.upper() if shift else letter, ord(letter.upper())
        await self._press(key=key, code=f"Key{letter.upper()}", windowsVirtualKeyCode=number, modifiers=modifiers, commands=commands)

    async def _press(self, *, commands: tuple[str, ...] = (), **key: Any) -> None:
        await self.call("Input.dispatchKeyEvent", type="keyDown", commands=list(commands), **key)
        key.pop("text", None)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    async def double_click(self, selector: str) -> None:
        """On the left end of an element, which selects the word there."""
        script = "(({ left, top, height }) => [left, top + height / 2])(document.querySelector(%r).getBoundingClientRect())"
        left, middle = await self.evaluate(script % selector)
        for count in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                await self.call("Input.dispatchMouseEvent", type=kind, x=left + 12, y=middle, button="left", clickCount=count)

    async def resize(self, width: int, height: int) -> None:
        """Give the window's inside this size, in pixels."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    async def object_of(self, prototype: str) -> str:
        """The handle of the one object with this prototype, an expression or a promise of one: what modules keep to themselves."""
        found = await self.call("Runtime.evaluate", expression=prototype, awaitPromise=True)
        objects = await self.call("Runtime.queryObjects", prototypeObjectId=found["result"]["objectId"])
        first = await self.call(
            "Runtime.callFunctionOn", objectId=objects["objects"]["objectId"], functionDeclaration="function() { return this[0]; }"
        )
        return str(first["result"]["objectId"])

    async def ask(self, handle: str, function: str) -> Any:
        """Call a function with an object as ``this``."""
        answer = await self.call("Runtime.callFunctionOn", objectId=handle, functionDeclaration=function, returnByValue=True)
        return answer["result"].get("value")


class Chromium:
    """One browser; each :meth:`tab` without ``beside`` has cookies of its own, as another person's browser."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._contexts: dict[Tab, str] = {}

    @property
    def complaints(self) -> list[str]:
        return self._connection.complaints

    async def tab(self, *, beside: Tab | None = None) -> Tab:
        """An empty page, with the cookies of ``beside``."""
        context = self._contexts[beside] if beside else (await self._connection.call("Target.createBrowserContext"))["browserContextId"]
        target = await self._connection.call("Target.createTarget", url="about:blank", browserContextId=context, newWindow=True)
        attached = await self._connection.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(self._connection, attached["sessionId"])
        self._contexts[tab] = context
        for domain in ("Page", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        await tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await tab.resize(900, 600)
        return tab

    async def allow_clipboard(self, tab: Tab) -> None:
        """Pages of the tab's browser may read and write the clipboard unasked."""
        permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        await self._connection.call("Browser.grantPermissions", permissions=permissions, browserContextId=self._contexts[tab])


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """A browser for the block, with a profile that goes with it."""
    with tempfile.TemporaryDirectory(prefix="cove-chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": profile},
        )
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(await _address(Path(profile)), max_msg_size=0) as socket,
                asyncio.TaskGroup() as group,
            ):
                connection = Connection(socket)
                listening = group.create_task(connection.listen())
                yield Chromium(connection)
                await connection.call("Browser.close")
                listening.cancel()
        finally:
            await _end(process)


async def _address(profile: Path) -> str:
    """Where it listens, once it does."""
    async with asyncio.timeout(START_S):
        while True:
            with contextlib.suppress(FileNotFoundError):
                lines = (profile / "DevToolsActivePort").read_text().splitlines()
                if len(lines) == 2:
                    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            await asyncio.sleep(POLL_S)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Wait for its end; what is left of its session is killed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_S):
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _quoted(text: str) -> str:
    """As a string of JavaScript's."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

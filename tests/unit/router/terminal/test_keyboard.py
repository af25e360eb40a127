"""Each key reaches the process once, in order, whatever breaks in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from cove.exception import ConflictError, ConnectionError
from router.terminal import keyboard as keyboard_module
from router.terminal.keyboard import Keyboard
from router.terminal.messages import KEYS_BYTES, TYPED_WINDOW_BYTES, Attach, Keys, Violation


class Process:
    """Takes input as a node does: by offset, bytes taken before skipped. ``failures`` are raised in turn, before or after the work."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.failures: list[tuple[Exception, bool]] = []
        self.changed, self.told = asyncio.Event(), asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, offset: int, data: bytes) -> int:
        await self.open.wait()
        failure, did_work = self.failures.pop(0) if self.failures else (None, True)
        if did_work:
            assert offset <= len(self.taken), "a gap"
            self.taken += data[len(self.taken) - offset :]
        self.changed.set()
        if failure is not None:
            raise failure
        return len(self.taken)

    async def has(self, length: int) -> bytes:
        while len(self.taken) < length:
            self.changed.clear()
            await self.changed.wait()
        return bytes(self.taken)

    async def settle(self, keyboard: Keyboard) -> None:
        """Return when the keyboard has told of all keys."""
        while not keyboard.is_empty:
            self.told.clear()
            await self.told.wait()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyboard_module, "FIRST_PAUSE_S", 0.0)


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
async def keyboard(process: Process) -> AsyncIterator[Keyboard]:
    made = Keyboard(process.write, process.told.set)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.wait([running])


def attach(page: int = 0, **changes: int | None) -> Attach:
    fields: dict[str, int | None] = {"offset": 0, "rows": 24, "columns": 80, "taken": 0, "pending": 0, "stdin": None}
    return Attach(page=f"{page:032x}", **{**fields, **changes})  # type: ignore[arg-type]  # the optional one is among them


async def test_keys_that_are_sent_again_arrive_once(keyboard: Keyboard, process: Process) -> None:
    typist = keyboard.join(attach())
    keyboard.type(typist, Keys(0, b"abc"))
    keyboard.type(typist, Keys(0, b"abcd"))
    keyboard.type(typist, Keys(2, b"cd"))
    assert keyboard.join(attach(taken=1, pending=3)) is typist
    keyboard.type(typist, Keys(1, b"bcdef"))
    assert await process.has(6) == b"abcdef"


async def test_a_lost_answer_and_a_silent_node_change_nothing(keyboard: Keyboard, process: Process) -> None:
    process.failures = [(ConnectionError("lost"), True), (ConnectionError("silent"), False), (ConnectionError("lost"), True)]
    typist = keyboard.join(attach())
    keyboard.type(typist, Keys(0, b"rm -rf x\r"))
    keyboard.type(typist, Keys(9, b"ls\r"))
    assert await process.has(12) == b"rm -rf x\rls\r"
    await process.settle(keyboard)


async def test_two_pages_do_not_swallow_each_others_keys(keyboard: Keyboard, process: Process) -> None:
    pages = [keyboard.join(attach(number)) for number in range(2)]
    process.open.clear()
    for round_ in range(10):
        for number, typist in enumerate(pages):
            keyboard.type(typist, Keys(round_, b"ab"[number : number + 1]))
    process.open.set()
    assert await process.has(20) == b"ab" * 10
    await process.settle(keyboard)
    assert [typist.taken for typist in pages] == [10, 10]


async def test_gaps_and_floods_are_violations(keyboard: Keyboard, process: Process) -> None:
    process.open.clear()
    typist = keyboard.join(attach())
    with pytest.raises(Violation):
        keyboard.type(typist, Keys(1, b"x"))
    for offset in range(0, TYPED_WINDOW_BYTES, KEYS_BYTES):
        keyboard.type(typist, Keys(offset, b"x" * KEYS_BYTES))
    with pytest.raises(Violation):
        keyboard.type(typist, Keys(TYPED_WINDOW_BYTES, b"x"))
    process.open.set()
    assert await process.has(TYPED_WINDOW_BYTES) == b"x" * TYPED_WINDOW_BYTES


async def test_a_page_cannot_know_of_keys_that_it_has_not_typed(keyboard: Keyboard) -> None:
    keyboard.type(keyboard.join(attach()), Keys(0, b"x"))
    with pytest.raises(Violation):
        keyboard.join(attach(taken=2))


@pytest.mark.parametrize(
    ("stdin", "known", "pending", "taken"),
    [
        (7, 7, 3, 4),  # none arrived
        (9, 7, 3, 6),  # two did
        (10, 7, 3, 7),
        (99, 7, 3, 7),  # others typed as well: rather lost than doubled
        (5, 7, 3, 4),
        (9, None, 0, 4),
    ],
)
async def test_after_a_restart_the_process_tells_what_arrived(
    keyboard: Keyboard, stdin: int, known: int | None, pending: int, taken: int
) -> None:
    keyboard.stdin = stdin
    assert keyboard.join(attach(taken=4, pending=pending, stdin=known)).taken == taken


async def test_keys_for_a_process_that_is_over_are_taken_and_dropped(keyboard: Keyboard, process: Process) -> None:
    process.failures = [(ConflictError("over", code="stdin_closed"), False)]
    typist = keyboard.join(attach())
    keyboard.type(typist, Keys(0, b"x"))
    keyboard.type(typist, Keys(1, b"y"))
    await process.settle(keyboard)
    assert typist.taken == 2
    assert process.taken == b""


@pytest.mark.parametrize("seed", range(20))
async def test_any_order_of_cuts_and_failures_gives_each_page_its_keys_in_order(keyboard: Keyboard, process: Process, seed: int) -> None:
    choose = random.Random(seed)
    texts = [bytes(choose.choices(range(number * 100, number * 100 + 100), k=300)) for number in range(2)]
    typists = [keyboard.join(attach(number)) for number in range(2)]
    process.failures = [(ConnectionError("cut"), choose.random() < 0.5) for _ in range(100)]
    while any(typist.taken < 300 for typist in typists):
        number = choose.randrange(2)
        typist = typists[number] = keyboard.join(attach(number, taken=typists[number].taken))
        start = choose.randint(typist.taken, typist.accepted)
        data = texts[number][start : start + choose.randint(1, 20)]
        if data:
            keyboard.type(typist, Keys(start, data))
        await asyncio.sleep(0)
    for number, text in enumerate(texts):
        assert bytes(byte for byte in process.taken if byte // 100 == number) == text

"""When to try again, and when not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import ConnectionError, DataLossError, Error
from snapshots.registry.retry import RETRY_AFTER, Retry, parse_retry_after
from snapshots.registry.settings import RegistrySettings


@pytest.mark.parametrize(
    ("value", "delay_s"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 400, None),
        ("１２", None),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, delay_s: float | None) -> None:
    assert parse_retry_after(value, now_s=1_000.0) == delay_s


@given(st.text(max_size=40))
def test_any_retry_after_is_a_delay_or_none(value: str) -> None:
    delay_s = parse_retry_after(value)
    assert delay_s is None or delay_s >= 0


class Waits(list[float]):
    async def __call__(self, delay_s: float) -> None:
        self.append(delay_s)


async def failures(retry: Retry, error: Error) -> int:
    """How many are taken before the error is raised."""
    for count in range(100):
        try:
            await retry.after(error)
        except Error as raised:
            assert raised is error
            return count
    raise AssertionError("never raised")


async def test_progress_counts_anew_and_the_longest_wait_holds() -> None:
    waits = Waits()
    retry = Retry(RegistrySettings(attempts=10, max_delay_s=4.0), sleep=waits)
    assert await failures(retry, ConnectionError("x")) == 9
    assert max(waits) <= 4.0
    retry.progress()
    assert await failures(retry, ConnectionError("x")) == 9


async def test_what_a_retry_cannot_help_is_raised_at_once() -> None:
    waits = Waits()
    assert await failures(Retry(RegistrySettings(), sleep=waits), DataLossError("x")) == 0
    assert await failures(Retry(RegistrySettings(), sleep=waits), ConnectionError("x", context={RETRY_AFTER: "31"})) == 0
    assert waits == []
    assert await failures(Retry(RegistrySettings(), sleep=waits), ConnectionError("x", context={RETRY_AFTER: "30"})) == 4
    assert waits == [30.0] * 4

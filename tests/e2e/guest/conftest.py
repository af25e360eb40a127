"""Every test here runs against cove-init in a runsc container and, where that proves something more, as a plain process."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxd import settings
from tests.support.guest_driver import Driver
from tests.support.guest_launch import LaunchedGuest, RunscGuests, plain_guest, rootfs


@pytest.fixture(scope="session")
def binary() -> Path:
    if not settings.GUEST_BUILD.exists():
        pytest.fail(f"{settings.GUEST_BUILD} is not built")
    return settings.GUEST_BUILD


@pytest.fixture(scope="session")
def runsc_guests(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunscGuests]:
    guests = RunscGuests(tmp_path_factory.mktemp("guests"), rootfs(), binary)
    yield guests
    guests.clean()


@pytest.fixture(scope="module")
def runsc_guest(runsc_guests: RunscGuests) -> Iterator[LaunchedGuest]:
    """One container for the tests of a module that need no other guest; each must leave it as it was."""
    with runsc_guests.guest() as guest:
        yield guest
        assert guest.complaints() == []


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("runsc", marks=[pytest.mark.needs_root, pytest.mark.needs_runsc]),
        pytest.param("plain", marks=pytest.mark.needs_root),
    ],
)
def guest(request: pytest.FixtureRequest, binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchedGuest]:
    """One guest of either kind for the tests of a module."""
    if request.param == "runsc":
        yield request.getfixturevalue("runsc_guest")
        return
    with plain_guest(tmp_path_factory.mktemp("plain"), binary) as guest:
        yield guest
        assert guest.complaints() == []


@pytest.fixture
def driver(guest: LaunchedGuest) -> Iterator[Driver]:
    """A session of its own, with no process left behind."""
    states = guest.driver.reset()
    assert states == []
    yield guest.driver


@pytest.fixture
def scratch(driver: Driver) -> Iterator[str]:
    """A directory inside, removed afterwards."""
    path = f"/root/cove-test-{secrets.token_hex(4)}"
    driver.make_directory(path)
    yield path
    driver.remove(path, recursive=True)

"""Every test here runs against cove-init in a runsc container and, where that proves something more, as a plain process."""

from __future__ import annotations

import os
import shutil
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
    if os.geteuid():
        pytest.skip("needs root for namespaces and mounts")
    return settings.GUEST_BUILD


@pytest.fixture(scope="session")
def runsc_guests(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunscGuests]:
    if not shutil.which("runsc"):
        pytest.skip("needs runsc")
    guests = RunscGuests(tmp_path_factory.mktemp("guests"), rootfs(), binary)
    yield guests
    guests.clean()


@pytest.fixture(scope="module")
def runsc_guest(runsc_guests: RunscGuests) -> Iterator[LaunchedGuest]:
    """One container for the tests of a module; each must leave it as it was."""
    with runsc_guests.guest() as guest:
        yield guest
        assert guest.complaints() == ""


@pytest.fixture(scope="module")
def bare_guest(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchedGuest]:
    with plain_guest(tmp_path_factory.mktemp("plain"), binary) as guest:
        yield guest
        assert guest.complaints() == ""


@pytest.fixture(params=[pytest.param("runsc_guest", marks=pytest.mark.needs_runsc), pytest.param("bare_guest", marks=pytest.mark.needs_root)])
def guest(request: pytest.FixtureRequest) -> LaunchedGuest:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, LaunchedGuest)
    return found


@pytest.fixture
def driver(guest: LaunchedGuest) -> Iterator[Driver]:
    """A session of its own, with no process left behind."""
    states = guest.driver.reset()
    assert states == []
    yield guest.driver

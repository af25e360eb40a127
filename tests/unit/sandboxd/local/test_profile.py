"""The invoking user's profile: whose it is, what it becomes, and that root writes nowhere on that user's behalf."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove import _profiles
from cove.exception import InvalidError
from sandboxd.local.installation import Credentials
from sandboxd.local.profile import User, invoking_user, profile_path, read_credentials, store

NOBODY = pwd.getpwnam("nobody")
CREDENTIALS = Credentials("ak-1", "as-1")


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[User]:
    """An unprivileged user with a home of their own, which they can reach."""
    home = tmp_path / "home"
    home.mkdir()
    opened = [parent for parent in tmp_path.parents if parent != Path("/") and not parent.stat().st_mode & stat.S_IXOTH]
    modes = {parent: parent.stat().st_mode for parent in (*opened, tmp_path)}
    for parent in modes:
        parent.chmod(0o711)
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    yield User("nobody", NOBODY.pw_uid, NOBODY.pw_gid, home)
    for parent, mode in modes.items():
        parent.chmod(stat.S_IMODE(mode))


@pytest.mark.needs_root
def test_behind_sudo_it_is_the_users_own(nobody: User) -> None:
    found = invoking_user({"SUDO_UID": str(NOBODY.pw_uid), "SUDO_USER": "ignored", "HOME": "/root"})
    assert (found.name, found.uid, found.home) == ("nobody", NOBODY.pw_uid, Path(NOBODY.pw_dir))


def test_without_sudo_it_is_this_processes(tmp_path: Path) -> None:
    found = invoking_user({"HOME": str(tmp_path)})
    assert (found.uid, found.home) == (os.getuid(), tmp_path)


@pytest.mark.needs_root
@pytest.mark.parametrize("uid", ["-1", "nobody", "", "1e3"])
def test_a_malformed_sudo_uid_is_ignored(uid: str) -> None:
    assert invoking_user({"SUDO_UID": uid}).uid == os.getuid()


@pytest.mark.needs_root
def test_a_user_that_there_is_not_is_an_error() -> None:
    with pytest.raises(InvalidError, match="3999999999"):
        invoking_user({"SUDO_UID": "3999999999"})


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    user = User("x", 1, 1, tmp_path)
    assert profile_path(user, {}) == tmp_path / ".cove.toml"
    assert profile_path(user, {"COVE_CONFIG_PATH": "/etc/cove.toml"}) == Path("/etc/cove.toml")


@pytest.mark.needs_root
def test_the_file_belongs_to_the_user_alone(nobody: User) -> None:
    path = nobody.home / ".cove.toml"
    assert store(nobody, path, "local", "127.0.0.1:7700", CREDENTIALS) is True
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (NOBODY.pw_uid, NOBODY.pw_gid, 0o600)
    assert os.geteuid() == os.getegid() == 0, "root's rights are back"
    assert read_credentials(nobody, path, "local", "127.0.0.1:7700") == CREDENTIALS


@pytest.mark.needs_root
def test_a_link_in_the_users_home_does_not_lead_root_away(nobody: User, tmp_path: Path) -> None:
    secret = tmp_path / "root-only"
    secret.write_text("[root]\ntoken_id = 'x'\n")
    secret.chmod(0o600)
    path = nobody.home / ".cove.toml"
    path.symlink_to(secret)
    with pytest.raises(InvalidError, match="cannot be read"):
        store(nobody, path, "local", "127.0.0.1:7700", CREDENTIALS)
    assert secret.read_text() == "[root]\ntoken_id = 'x'\n"
    locked = nobody.home / "locked"
    locked.mkdir(mode=0o700)
    with pytest.raises(InvalidError, match="cannot be"):
        store(nobody, locked / ".cove.toml", "local", "127.0.0.1:7700", CREDENTIALS)
    assert os.geteuid() == 0


def test_other_profiles_and_settings_stay_and_an_active_one_stays_active(tmp_path: Path) -> None:
    user = User("me", os.getuid(), os.getgid(), tmp_path)
    path = tmp_path / ".cove.toml"
    work: dict[str, _profiles.Profile] = {"work": {"token_id": "ak-w", "active": True}, "local": {"environment": "dev", "token_id": "old"}}
    _profiles.write(path, work)
    assert store(user, path, "local", "127.0.0.1:7700", CREDENTIALS) is False
    found = _profiles.read(path)
    assert found["work"] == {"token_id": "ak-w", "active": True}
    assert found["local"] == {"environment": "dev", "token_id": "ak-1", "token_secret": "as-1", "server_url": "127.0.0.1:7700"}


def test_a_token_for_another_router_is_not_this_ones(tmp_path: Path) -> None:
    user = User("me", os.getuid(), os.getgid(), tmp_path)
    path = tmp_path / ".cove.toml"
    assert read_credentials(user, path, "local", "127.0.0.1:7700") is None
    store(user, path, "local", "127.0.0.1:7700", CREDENTIALS)
    assert read_credentials(user, path, "local", "10.0.0.1:7700") is None
    assert read_credentials(user, path, "other", "127.0.0.1:7700") is None

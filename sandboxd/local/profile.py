"""The profile of whoever typed ``cove up``: the user behind sudo where there is one, and then written with that user's rights alone."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from cove import _profiles
from cove.exception import InvalidError
from sandboxd.local.installation import Credentials


class User(msgspec.Struct, frozen=True):
    """Whose profile it is."""

    name: str
    uid: int
    gid: int
    home: Path


def invoking_user(environ: Mapping[str, str] = os.environ) -> User:
    """The user who ran sudo, else this process's.

    Raises:  InvalidError: sudo names a user that there is not.
    """
    uid = os.getuid()
    if os.geteuid() == 0 and environ.get("SUDO_UID", "").isdigit():
        uid = int(environ["SUDO_UID"])
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise InvalidError(f"There is no user {uid}.", remedy="Check SUDO_UID.") from error
    own_home = environ.get("HOME") if uid == os.getuid() else None
    return User(entry.pw_name, uid, entry.pw_gid, Path(own_home or entry.pw_dir))


def profile_path(user: User, environ: Mapping[str, str] = os.environ) -> Path:
    """``COVE_CONFIG_PATH``, or ``.cove.toml`` at home."""
    return Path(environ.get("COVE_CONFIG_PATH") or user.home / ".cove.toml")


@contextlib.contextmanager
def acting_as(user: User) -> Iterator[None]:
    """Use files with the user's rights: in a home directory links can lead anywhere, and root would follow them."""
    if os.geteuid() != 0 or user.uid == 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups(os.getgrouplist(user.name, user.gid))
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def read_credentials(user: User, path: Path, name: str, address: str) -> Credentials | None:
    """The token of profile ``name``, if that is for the router at ``address``."""
    with acting_as(user):
        profile = _profiles.read(path).get(name, {})
    if profile.get("server_url") != address or not profile.get("token_id"):
        return None
    return Credentials(str(profile["token_id"]), str(profile.get("token_secret", "")))


def store(user: User, path: Path, name: str, address: str, credentials: Credentials) -> bool:
    """Write profile ``name``. It becomes the active one unless another is. Returns whether it is active.

    Raises:  InvalidError: the file cannot be read or written.
    """
    with acting_as(user):
        profiles = _profiles.read(path)
        others = [other for other, values in profiles.items() if values.get("active") is True and other != name]
        values = {"server_url": address, "token_id": credentials.token_id, "token_secret": credentials.token_secret}
        profiles[name] = {**profiles.get(name, {}), **values, **({} if others else {"active": True})}
        _profiles.write(path, profiles)
    return not others

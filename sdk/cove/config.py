"""Where a client finds its server and its credentials: profiles in ``~/.cove.toml``, below environment variables.

A profile is a table of the file; each of its keys is a setting of :data:`SETTINGS`, and ``active = true`` marks the profile in use.
``COVE_PROFILE`` chooses another one, ``COVE_CONFIG_PATH`` another file. A setting is looked up in this order: environment variable
``COVE_<SETTING>``, profile, default.

Reading follows the file as it changes; writing is atomic and leaves it readable by its owner alone, since it holds token secrets.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from cove import _profiles
from cove.exception import InvalidError

Value = str | bool | float | None
"""What a setting can be."""

_FALSE: Final = ("", "0", "false", "no", "off")


def _text(value: object) -> str:
    return str(value)


def _flag(value: object) -> bool:
    return str(value).strip().lower() not in _FALSE


def _seconds(value: object) -> float:
    number = float(str(value))
    if not 0 <= number < float("inf"):
        raise ValueError("not a number of seconds")
    return number


def _level(value: object) -> str:
    name = str(value).upper()
    if name not in logging.getLevelNamesMapping():
        raise ValueError("not a log level")
    return name


class Setting(NamedTuple):
    """One setting: how text becomes its value, what it is when nobody sets it, and its meaning."""

    parse: Callable[[object], Value]
    default: Value
    meaning: str


SETTINGS: Final[Mapping[str, Setting]] = {
    "server_url": Setting(_text, None, "host:port of the router's gRPC service"),
    "server_http_url": Setting(_text, None, "base URL of the router's HTTP service, where it is not the one that the router tells"),
    "token_id": Setting(_text, None, "credentials: the public half"),
    "token_secret": Setting(_text, None, "credentials: the secret half"),
    "environment": Setting(_text, None, "environment that names are looked up in; the server's default when unset"),
    "loglevel": Setting(_level, "WARNING", "least severe message of the client that is shown"),
    "log_pattern": Setting(_text, "[cove] %(asctime)s %(message)s", "form of those messages, as logging.Formatter has it"),
    "logs_timeout": Setting(_seconds, 10.0, "seconds to wait for the last log lines at exit"),
    "max_throttle_wait": Setting(_seconds, None, "seconds to retry throttled calls; unset is for ever, 0 is not at all"),
    "reconnect_s": Setting(_seconds, 30.0, "seconds for which calls that are safe to repeat survive an unreachable server"),
    "force_build": Setting(_flag, False, "build all image layers again and replace the cached ones"),
    "ignore_cache": Setting(_flag, False, "build all image layers again and leave the cached ones alone"),
    "traceback": Setting(_flag, False, "show whole tracebacks on the command line"),
    "dev_suffix": Setting(_text, "dev", "suffix of web endpoints' names while served from a developer's machine"),
    "build_validation": Setting(_text, "error", "what to do when local files change during an image build: error, warn or ignore"),
    "async_warnings": Setting(_flag, False, "warn when a blocking call is made inside a running event loop"),
}
"""Every setting by name."""


def config_path() -> Path:
    """The file that holds the profiles."""
    return Path(os.environ.get("COVE_CONFIG_PATH") or Path.home() / ".cove.toml").expanduser()


def active_profile() -> str:
    """Name of the profile in use: ``COVE_PROFILE``, the one marked active, the only one there is, or ``default``."""
    chosen = os.environ.get("COVE_PROFILE")
    if chosen:
        return chosen
    profiles = _profiles.read(config_path())
    active = [name for name, values in profiles.items() if _flag(values.get("active", False))]
    if len(active) > 1:
        raise InvalidError(
            f"More than one profile in {config_path()} is active: {', '.join(active)}.",
            remedy="Choose one with `cove profile activate NAME`.",
        )
    return active[0] if active else next(iter(profiles)) if len(profiles) == 1 else "default"


def config_profiles() -> list[str]:
    """Names of the profiles in the file."""
    return list(_profiles.read(config_path()))


def config_set_active_profile(profile: str) -> None:
    """Make ``profile`` the active one, in the file.

    Raises:  InvalidError: the file has no such profile.
    """
    profiles = _profiles.read(config_path())
    if profile not in profiles:
        raise InvalidError(f"There is no profile {profile[:80]!r} in {config_path()}.", remedy=f"Known: {', '.join(profiles) or 'none'}.")
    _profiles.write(config_path(), _with_active(profiles, profile))


def config_store_profile(profile: str, values: Mapping[str, Value], *, activate: bool = True) -> None:
    """Write settings of one profile to the file; its other settings stay, None removes one.

    Raises:  InvalidError: an unknown setting, or a file that cannot be read or written.
    """
    profiles = _profiles.read(config_path())
    merged = {**profiles.get(profile, {}), **{key: value for key, value in values.items() if _known(key)}}
    profiles[profile] = {key: value for key, value in merged.items() if value is not None}
    _profiles.write(config_path(), _with_active(profiles, profile) if activate else profiles)


def _with_active(profiles: Mapping[str, _profiles.Profile], active: str) -> dict[str, _profiles.Profile]:
    plain = {name: {key: value for key, value in values.items() if key != "active"} for name, values in profiles.items()}
    plain[active]["active"] = True
    return plain


def _known(key: str) -> str:
    if key not in SETTINGS:
        raise InvalidError(f"There is no setting {key[:80]!r}.", remedy=f"Known: {', '.join(SETTINGS)}.")
    return key


class Config:
    """All settings, as this process sees them. Use the instance :data:`config`."""

    def get(self, key: str, profile: str | None = None, use_env: bool = True) -> Any:
        """The value of one setting.

        Args:
            profile: look into this one instead of the active one.
            use_env: let environment variables win.
        Raises:
            InvalidError: there is no such setting, or its text does not make sense.
        """
        setting = SETTINGS[_known(key)]
        variable = f"COVE_{key.upper()}"
        if use_env and variable in os.environ:
            return self._parse(setting, os.environ[variable], f"environment variable {variable}")
        values = self._profile_values(profile or active_profile())
        if key in values:
            return self._parse(setting, values[key], f"setting {key!r} in {config_path()}")
        return setting.default

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def override_locally(self, key: str, value: str) -> None:
        """Set one setting for this process alone, by its environment variable; nothing is written."""
        os.environ[f"COVE_{_known(key).upper()}"] = value

    def to_dict(self) -> dict[str, Any]:
        """Every setting with its value, token secret included."""
        return {key: self.get(key) for key in SETTINGS}

    def _profile_values(self, profile: str) -> _profiles.Profile:
        values = _profiles.read(config_path()).get(profile, {})
        for key in values:
            if key != "active":
                _known(key)
        return values

    def _parse(self, setting: Setting, value: object, source: str) -> Value:
        """The parsed value. The text itself stays out of the error: it may be a secret."""
        try:
            return setting.parse(value)
        except (ValueError, OverflowError) as error:
            raise InvalidError(f"The {source} has a wrong value.", remedy=f"It is {setting.meaning}.") from error


config: Final = Config()
"""The settings of this process."""


def __getattr__(name: str) -> str:
    if name == "_profile":  # the documented way to ask for the active profile's name
        return active_profile()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["SETTINGS", "Config", "Setting", "config", "config_path", "config_profiles", "config_set_active_profile", "config_store_profile"]

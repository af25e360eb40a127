"""``cove profile``: which server and credentials are in use."""

from __future__ import annotations

from typing import Annotated

import typer

from cove import _profiles
from cove.cli._show import print_json, print_table
from cove.config import active_profile, config_path, config_set_active_profile


def commands(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer(help="Choose which server and credentials to use.", no_args_is_help=True)
    group.command("activate")(activate)
    group.command("current")(current)
    group.command("list")(list_)
    app.add_typer(group, name="profile")


def activate(profile: Annotated[str, typer.Argument(help="Name of a profile in the file.")]) -> None:
    """Make PROFILE the active one."""
    config_set_active_profile(profile)


def current() -> None:
    """Print the name of the profile in use."""
    typer.echo(active_profile())


def list_(json: Annotated[bool, typer.Option("--json/--no-json", help="Print JSON.")] = False) -> None:
    """List the profiles in the file."""
    active = active_profile()
    profiles = [
        {"name": name, "active": name == active, **{key: values.get(key) for key in ("server_url", "token_id", "environment")}}
        for name, values in _profiles.read(config_path()).items()
    ]
    if json:
        print_json(profiles)
        return
    print_table(
        ("Profile", "Active", "Server", "Token", "Environment"),
        [["*" if value is True else str(value or "") for value in profile.values()] for profile in profiles],
        empty=f"{config_path()} has no profiles: `cove up` writes the first.",
    )

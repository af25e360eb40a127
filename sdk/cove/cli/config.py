"""``cove config``: the settings of the client."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from cove.cli._show import print_json
from cove.config import active_profile, config, config_store_profile
from cove.types import check_name

_REDACTED: Final = "***"


def commands(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer(help="Show and change the client's settings.", no_args_is_help=True)
    group.command("show")(show)
    group.command("set-environment")(set_environment)
    app.add_typer(group, name="config")


def show(redact: Annotated[bool, typer.Option("--redact/--no-redact", help="Hide the token's secret.")] = True) -> None:
    """Print every setting with its value, as JSON."""
    values = config.to_dict()
    if redact and values["token_secret"]:
        values["token_secret"] = _REDACTED
    print_json(values)


def set_environment(name: Annotated[str, typer.Argument(help="Where names are looked up from now on.")]) -> None:
    """Make NAME the environment of the active profile."""
    config_store_profile(active_profile(), {"environment": check_name(name, what="Environment")}, activate=False)

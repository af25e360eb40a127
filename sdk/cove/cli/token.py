"""``cove token``: credentials. A secret is printed once, by the command that made it, or goes into the file of profiles unseen."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cove.cli._run import run
from cove.cli._show import ago, print_json, print_table, when
from cove.config import active_profile, config, config_path, config_store_profile
from cove.exception import AuthError, InvalidError

Json = Annotated[bool, typer.Option("--json/--no-json", help="Print JSON.")]
Activate = Annotated[bool, typer.Option("--activate/--no-activate", help="Make the profile that is written the active one.")]


def commands(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer(help="Make, store and revoke credentials.", no_args_is_help=True)
    group.command("new")(new)
    group.command("list")(list_)
    group.command("revoke")(revoke)
    group.command("set")(set_)
    app.add_typer(group, name="token")


def new(
    name: Annotated[str, typer.Option(help="What it is for, shown by `cove token list`.")] = "",
    profile: Annotated[str | None, typer.Option(help="Store it in this profile instead of printing it.")] = None,
    activate: Activate = True,
    json: Json = False,
) -> None:
    """Make another token on the server of the active profile."""
    from cove.cli import _tokens

    made = run(_tokens.create(name))
    credentials = {"token_id": made.token_id, "token_secret": made.token_secret}
    if profile is not None:
        servers = {key: config[key] for key in ("server_url", "server_http_url")}
        config_store_profile(profile, {**servers, **credentials}, activate=activate)
        typer.echo(f"Token {made.token_id} is stored in profile {profile!r} of {config_path()}.", err=True)
    elif json:
        print_json({**credentials, "workspace": made.workspace})
    else:
        typer.echo(f"Token id:     {made.token_id}\nToken secret: {made.token_secret}")
        typer.echo("The secret is not shown again. `cove token set` stores both on another machine.", err=True)


def list_(json: Json = False) -> None:
    """List the workspace's tokens, without their secrets."""
    from cove.cli import _tokens

    tokens = run(_tokens.list_())
    if json:
        print_json(
            [
                {
                    "token_id": token.token_id,
                    "name": token.name,
                    "created_at": when(token.created_at),
                    "last_used_at": when(token.last_used_at),
                    "revoked": token.revoked,
                }
                for token in tokens
            ]
        )
        return
    print_table(
        ("Token", "Name", "Created", "Last used", "State"),
        [
            (token.token_id, token.name, ago(token.created_at), ago(token.last_used_at), "revoked" if token.revoked else "")
            for token in tokens
        ],
        empty="There are no tokens.",
    )


def revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, from `cove token list`.")],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask, even for the token in use.")] = False,
) -> None:
    """End a token: whoever uses it is refused from now on."""
    from cove.cli import _tokens

    if token_id == config["token_id"] and not yes:
        typer.confirm("This is the token you are using. Revoke it?", abort=True, err=True)
    run(_tokens.revoke(token_id))


def set_(
    token_id: Annotated[str | None, typer.Option(help="Token id; - reads a line of stdin. Asked for when left out.")] = None,
    token_secret: Annotated[str | None, typer.Option(help="Token secret; - reads a line of stdin. Asked for when left out.")] = None,
    server_url: Annotated[str | None, typer.Option(help="host:port of the router; the profile's when left out.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile to write; the active one when left out.")] = None,
    activate: Activate = True,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Ask the server whether they are good, before storing.")] = True,
) -> None:
    """Store credentials in a profile."""
    chosen = profile or active_profile()
    address = server_url or config.get("server_url", profile=chosen)
    if not address:
        raise AuthError(
            f"Profile {chosen!r} names no server.", remedy="Give --server-url host:port, or start a server here with `cove up`."
        )
    credentials = {
        "token_id": _read(token_id, "Token id", hidden=False),
        "token_secret": _read(token_secret, "Token secret", hidden=True),
    }
    if verify:
        from cove.cli import _tokens

        run(_tokens.verify(address, **credentials))
    config_store_profile(chosen, {"server_url": address, **credentials}, activate=activate)
    typer.echo(f"Stored in profile {chosen!r} of {config_path()}.", err=True)


def _read(given: str | None, what: str, *, hidden: bool) -> str:
    """The value given, or a line from stdin, or what the user types."""
    if given is None:
        given = str(typer.prompt(what, hide_input=hidden, err=True))
    elif given == "-":
        given = sys.stdin.readline()
    if not given.strip():
        raise InvalidError(f"The {what.lower()} is empty.", remedy="`cove token new` prints both.")
    return given.strip()

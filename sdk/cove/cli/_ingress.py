"""``cove sandbox tunnels`` and ``cove sandbox connect``: ways into a sandbox."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cove.cli._run import run
from cove.cli._show import ago, ahead, print_json, print_table
from cove.cli.sandbox import Json, Reference
from cove.exception import InvalidError


def tunnels(
    sandbox: Reference,
    open_: Annotated[int | None, typer.Option("--open", metavar="PORT", help="Open a tunnel to this port first.")] = None,
    unencrypted: Annotated[bool, typer.Option("--unencrypted", help="With --open: as a plain TCP port, too.")] = False,
    h2: Annotated[bool, typer.Option("--h2", help="With --open: for a server that speaks HTTP/2.")] = False,
    close: Annotated[int | None, typer.Option("--close", metavar="PORT", help="Close the tunnel to this port first.")] = None,
    json: Json = False,
) -> None:
    """Show where the ports of a sandbox are reached from outside; open and close them."""
    found = run(_tunnels(sandbox, open_, close, unencrypted=unencrypted, h2=h2))
    if json:
        print_json(found)
        return
    rows = [(str(one["port"]), one["url"], one["tls"], one["tcp"] or "-") for one in found]
    print_table(("Port", "URL", "TLS", "TCP"), rows, empty="No tunnels; --open PORT makes one.")


def connect(
    sandbox: Reference,
    user: Annotated[str | None, typer.Option(metavar="JSON", help="What the server is told of the user, as X-Verified-User-Data.")] = None,
    expires: Annotated[int | None, typer.Option(metavar="SECONDS", help="Lifetime; as long as the sandbox when left out.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the tokens there are instead.")] = False,
    revoke: Annotated[str | None, typer.Option(metavar="TOKEN_ID", help="Revoke this one instead, and break its connections off.")] = None,
    json: Json = False,
) -> None:
    """Print a link to the server on port 8080 of a sandbox. It has a connect token in it: whoever has the link is let in."""
    if revoke is not None:
        run(_revoke(sandbox, revoke))
        typer.echo(f"revoked {revoke}", err=True)
    elif list_:
        _print_tokens(run(_tokens(sandbox)), json=json)
    else:
        made = run(_connect(sandbox, user, expires))
        if json:
            print_json(made)
        else:
            typer.echo(f"{made['url']}/?_cove_connect_token={made['token']}")


def _print_tokens(found: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        print_json(found)
        return
    rows = [
        (one["token_id"], one["user_metadata"] or "-", ago(one["created_at"]), "revoked" if one["revoked"] else ahead(one["expires_at"]))
        for one in found
    ]
    print_table(("Token", "User", "Created", "Expires"), rows, empty="No connect tokens.")


async def _tunnels(reference: str, open_: int | None, close: int | None, *, unencrypted: bool, h2: bool) -> list[dict[str, Any]]:
    from cove.cli import _ports, _sandboxes

    if (unencrypted or h2) and open_ is None:
        raise InvalidError("--unencrypted and --h2 say how --open opens a port.", remedy="Add --open PORT.")
    sandbox = await _sandboxes.find(reference)
    if close is not None:
        await sandbox.close_port(close)
    if open_ is not None:
        await sandbox.open_port(open_, unencrypted=unencrypted, h2_enabled=h2)
    return [_ports.tunnel_facts(port, tunnel) for port, tunnel in (await sandbox.tunnels()).items()]


async def _connect(reference: str, user: str | None, expires: int | None) -> dict[str, Any]:
    from cove.cli import _ports, _sandboxes

    made = await (await _sandboxes.find(reference)).create_connect_token(_ports.metadata(user), expires_in=expires)
    return {"url": made.url, "token": made.token, "token_id": made.token_id, "expires_at": made.expires_at}


async def _tokens(reference: str) -> list[dict[str, Any]]:
    from cove.cli import _ports, _sandboxes

    return await _ports.tokens(await _sandboxes.find(reference))


async def _revoke(reference: str, token_id: str) -> None:
    from cove.cli import _sandboxes

    await (await _sandboxes.find(reference)).revoke_connect_token(token_id)

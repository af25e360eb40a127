"""``cove image``: what images there are, and making, publishing and removing them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cove.cli._run import end, run
from cove.cli._show import ago, print_facts, print_json, print_table, progress, size
from cove.exception import Error, InvalidError

if TYPE_CHECKING:
    from cove.wire import image_pb2

Reference = Annotated[str, typer.Argument(metavar="IMAGE", help="Its id (im-…).")]
Json = Annotated[bool, typer.Option("--json/--no-json", help="Print JSON.")]

DAY_S: Final = 86_400.0


def commands(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer(help="Build, inspect, publish and remove images.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("build")(build)
    group.command("push")(push)
    group.command("prune")(prune)
    group.command("rm")(rm)
    app.add_typer(group, name="image")


def list_(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    json: Json = False,
) -> None:
    """List images, newest first: built ones, pulled ones and snapshots."""
    found = run(_list(limit))
    if json:
        print_json([_facts(one) for one in found])
        return
    print_table(
        ("Image", "Created", "From", "Size", "Layers", "Description"),
        [(one.image_id, ago(one.created_at), one.source, _size(one), str(one.layers), one.description) for one in found],
        empty="No images.",
    )


def show(image: Reference, json: Json = False) -> None:
    """Show all that is known of one image."""
    facts = _facts(run(_get(image)))
    if json:
        print_json(facts)
        return
    config = facts.pop("config")
    shown = {**facts, "created_at": ago(facts["created_at"] or 0), "size_bytes": size(facts["size_bytes"]), **config}
    print_facts(shown)


def build(
    path: Annotated[Path, typer.Argument(help="A Dockerfile, or a directory that has one.")] = Path(),
    context: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What COPY copies from; where the Dockerfile is when left out.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="STAGE", help="Stage to build; the last one when left out.")] = None,
    build_arg: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Value of an ARG. Repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Build all steps again.")] = False,
    app: Annotated[str, typer.Option(help="App that asks for it; made if it does not exist.")] = "cove-image",
    json: Json = False,
) -> None:
    """Build a Dockerfile and print the image's id. What happens meanwhile is on stderr."""
    from cove.cli._sandboxes import pairs

    file = path / "Dockerfile" if path.is_dir() else path
    image_id = run(_build(file, context or file.parent, target, pairs(build_arg or [], what="--build-arg"), app, force=force))
    if json:
        print_json({"image_id": image_id})
    else:
        typer.echo(image_id)


def push(
    image: Reference,
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="Where to: registry/repository:tag.")],
    username: Annotated[str | None, typer.Option(help="User at the registry. The password is asked for, or see --password-stdin.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    secret: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Credentials in a .env file: what Image.from_registry takes as its secret.")
    ] = None,
    kind: Annotated[str, typer.Option(help="How the credentials work: registry, ecr or gcp.")] = "registry",
    json: Json = False,
) -> None:
    """Push an image to a container registry and print the digest that it has there."""
    kinds = {"registry": "", "ecr": "ecr", "gcp": "gcp"}
    if kind not in kinds:
        raise InvalidError(f"{kind[:40]!r} is no kind of registry.", remedy=f"Use one of: {', '.join(kinds)}.")
    credentials = _credentials(username, password_stdin=password_stdin, secret=secret)
    with progress(f"Pushing {image} to {reference}"):
        digest = run(_push(image, reference, kinds[kind], credentials))
    if json:
        print_json({"image_id": image, "reference": reference, "digest": digest})
    else:
        typer.echo(digest)


def prune(
    older_than: Annotated[float, typer.Option(metavar="DAYS", min=0, help="Only what was not used for so many days.")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove images that nothing uses, and what only they needed in the store."""
    if not dry_run and not yes:
        typer.confirm("Remove all images that nothing uses, snapshots too?", abort=True, err=True)
    with progress("Looking for what nothing uses"):
        removed = run(_prune(older_than * DAY_S, dry_run=dry_run))
    if json:
        print_json({"image_ids": list(removed.image_ids), "blobs": removed.blobs, "bytes": removed.bytes, "dry_run": dry_run})
        return
    for image_id in removed.image_ids:
        typer.echo(image_id)
    verb = "Would remove" if dry_run else "Removed"
    typer.echo(f"{verb} {_count(len(removed.image_ids), 'image')} and {_count(removed.blobs, 'blob')}: {size(removed.bytes)}.", err=True)


def rm(images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Ids.")]) -> None:
    """Remove images. One that cannot go, since a sandbox runs on it, does not keep the others."""
    failures = run(_rm(images))
    end(failures)


async def _list(limit: int) -> list[image_pb2.ImageInfo]:
    from cove.cli import _images

    return await _images.list_(limit)


async def _get(image_id: str) -> image_pb2.ImageInfo:
    from cove.cli import _images

    return await _images.get(image_id)


async def _build(file: Path, context: Path, target: str | None, arguments: dict[str, str], app: str, *, force: bool) -> str:
    from cove.cli import _images

    return await _images.build(file, context, target=target, build_args=arguments, app=app, force=force)


async def _push(image_id: str, reference: str, kind: str, credentials: dict[str, str]) -> str:
    from cove.cli import _images

    return await _images.push(image_id, reference, kind, credentials)


async def _prune(older_than_s: float, *, dry_run: bool) -> image_pb2.ImagePruneResponse:
    from cove.cli import _images

    return await _images.prune(older_than_s, dry_run=dry_run)


async def _rm(image_ids: list[str]) -> list[Error]:
    from cove.cli import _images

    return await _images.remove(image_ids)


def _credentials(username: str | None, *, password_stdin: bool, secret: Path | None) -> dict[str, str]:
    """From the file, or typed, or from the environment, where there are any."""
    if secret is not None:
        from cove import _dotenv

        return _dotenv.parse(secret.read_text("utf-8"), source=str(secret))
    if username is not None:
        password = sys.stdin.readline().rstrip("\r\n") if password_stdin else str(typer.prompt("Password", hide_input=True, err=True))
        return {"REGISTRY_USERNAME": username, "REGISTRY_PASSWORD": password}
    return {name: os.environ[name] for name in ("REGISTRY_USERNAME", "REGISTRY_PASSWORD") if name in os.environ}


def _facts(one: image_pb2.ImageInfo) -> dict[str, Any]:
    from cove.cli._images import facts

    return facts(one)


def _size(one: image_pb2.ImageInfo) -> str:
    return size(one.size_bytes) if one.size_bytes or one.stored else "-"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

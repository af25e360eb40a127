"""The command line: ``cove NOUN VERB``.

Each public module of this package is a noun and has ``commands(app)``, which adds its commands to the main app. Other distributions add
theirs through entry points of the group ``cove.cli`` with the same signature: ``cove up`` and ``cove doctor`` come with cove-server. Only
what the command needs is imported: a module of commands imports the client inside its functions.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, cast

import typer

from cove.exception import Error, InvalidError

if TYPE_CHECKING:
    from importlib import metadata

PLUGINS: Final = "cove.cli"
"""Group of entry points."""

Commands = Callable[[typer.Typer], None]


def main() -> None:
    """Entry point of the ``cove`` program. Errors come as a sentence and what to do; ``COVE_TRACEBACK=1`` shows where from."""
    _occupy_standard_streams()
    try:
        build_app(sys.argv[1:])()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("COVE_TRACEBACK", "") not in ("", "0", "false"):
            raise
        fail(error)


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The app with the commands that ``arguments`` can mean: those of one noun where they name one of ours, else all."""
    app = typer.Typer(
        name="cove",
        help="Secure sandboxes on machines you own.",
        no_args_is_help=True,
        rich_markup_mode=None,  # rich takes longer to import than everything else together
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    nouns = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    named = next((word for word in arguments if not word.startswith("-")), None)
    for noun in [named] if named in nouns else nouns:
        cast(Any, import_module(f"{__name__}.{noun}")).commands(app)
    if named not in nouns:
        from importlib import metadata  # slow to import

        for plugin in metadata.entry_points(group=PLUGINS):
            _add_plugin(app, plugin)
    return app


def fail(error: Exception) -> NoReturn:
    """Say what went wrong and what to do about it, on stderr, and exit: 2 for a wrong request, else 1."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if isinstance(error, Error):
        cause, remedy = error.cause or type(error).__name__, error.remedy
    elif isinstance(error, OSError) and error.strerror:  # of a file, here or in a sandbox
        cause, remedy = ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None), ""
    else:
        cause, remedy = f"{type(error).__name__}: {error}", "This is a bug in cove or a broken installation: COVE_TRACEBACK=1 shows where."
    console.print(Text.assemble(("Error: ", "bold red"), cause), soft_wrap=True)
    if remedy:
        console.print(Text(remedy), soft_wrap=True)
    sys.exit(2 if isinstance(error, InvalidError) else 1)


def _occupy_standard_streams() -> None:
    """Where one of them is closed, put /dev/null there: the next file or socket would become it, and be read or written as such."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _add_plugin(app: typer.Typer, plugin: metadata.EntryPoint) -> None:
    """A broken plugin takes its own commands away, not ours."""
    try:
        commands = cast(Commands, plugin.load())
    except (ImportError, AttributeError) as error:
        typer.echo(f"Warning: the commands of {plugin.value} are missing: {error}. Install cove and cove-server in one version.", err=True)
        return
    commands(app)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        typer.echo(f"cove {metadata.version('cove')}")
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)] = False,
) -> None:
    """Options of ``cove`` itself; each acts in its callback."""

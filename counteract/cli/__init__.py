"""The command `counteract`. One module per group of commands; each is added to the application here."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from counteract.cli import contracts, events, parked, personal, projections, sagas, store
from counteract.cli.dev import dev
from counteract.cli.doctor import doctor
from counteract.cli.migrate import migrate
from counteract.cli.new import new
from counteract.cli.output import say, say_lines
from counteract.cli.personal import forget
from counteract.cli.record import record
from counteract.cli.replay import replay
from counteract.errors import CounteractError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(dev)
app.command()(doctor)
app.command()(forget)
app.command()(migrate)
app.command()(new)
app.command()(record)
app.command()(replay)
app.add_typer(contracts.app, name="contracts")
app.add_typer(events.app, name="events")
app.add_typer(parked.app, name="parked")
app.add_typer(personal.app, name="personal")
app.add_typer(projections.app, name="projections")
app.add_typer(sagas.app, name="sagas")
app.add_typer(store.app, name="store")


def _show_version(wanted: bool) -> None:
    """Print the version and leave, if that is wanted."""
    if wanted:
        say(f"counteract {version('counteract')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Sagas on Temporal, events in PostgreSQL."""


def main() -> None:
    """Run the command line. What is raised on purpose is told in one line, and so are refusals of the system and
    arguments that are no text; anything else keeps its traceback.
    """
    try:
        app()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException as error:
        if said := _in_a_line(error):
            say_lines(said, aside=True)
        else:
            sys.excepthook(*sys.exc_info())
        code = 1
    _leave(code)


def _in_a_line(error: BaseException) -> str | None:
    """The line that tells an error which is nobody's bug; None for any other."""
    if isinstance(error, CounteractError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error) or None
    if isinstance(error, UnicodeError) and (wrong := [each for each in sys.argv[1:] if not _is_text(each)]):
        return f"this is no UTF-8: {', '.join(wrong)}"
    return None


def _is_text(argument: str) -> bool:
    """Whether an argument is UTF-8: anything else comes from the system as half surrogate pairs."""
    return not any("\ud800" <= each <= "\udfff" for each in argument)


def _leave(code: int) -> None:
    """End the process now: the runtime of the Temporal SDK may abort an interpreter that winds down at leisure."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        # Nowhere to write to, or closed: it was said where it was noticed, if that could be said.
        code = code or 1
    os._exit(code)

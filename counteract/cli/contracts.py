"""`counteract contracts …`: what is stored stays readable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.cli.application import Modules, event_classes
from counteract.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from counteract.store.contracts.published import Problem

app = typer.Typer(no_args_is_help=True, help="The JSON Schemas of the events that are stored, and what they promise.")

Folder = Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where the published contracts are.")]
FOLDER = Path("contracts")


@app.command()
def publish(modules: Modules = None, folder: Folder = FOLDER) -> None:
    """Write the contracts that are new or have widened. Nothing is narrowed or removed: then nothing is written."""
    from counteract.store.contracts.published import publish as run

    written, problems = run(event_classes(modules), folder)
    _stop_for(problems)
    for key in written:
        say(f"{folder / key.file_name}")
    say(f"{counted(len(written), 'contract')} published" if written else "All contracts are published.")


@app.command()
def check(modules: Modules = None, folder: Folder = FOLDER) -> None:
    """Compare today's event classes with the published contracts; 1 if something that may be stored no longer fits."""
    from counteract.store.contracts.published import check as run
    from counteract.store.contracts.published import published_in

    published = published_in(folder)
    _stop_for(run(event_classes(modules), published))
    say(f"{counted(len(published), 'contract')} kept")


@app.command()
def diff(modules: Modules = None, folder: Folder = FOLDER) -> None:
    """Show what has changed since the contracts were published, and what that does to what is stored."""
    from counteract.store.contracts.published import differences, key_of, published_in

    published, classes = published_in(folder), event_classes(modules)
    for each in classes:
        if key_of(each) not in published:
            say(f"{key_of(each)}  new")
    for found in differences(classes, published):
        say(f"{found.key}  {found.effect}  {found.place.path}: {found.place.was} → {found.place.now}")


def counted(number: int, noun: str) -> str:
    """The number with its noun, in the plural where it is not one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _stop_for(problems: Sequence[Problem]) -> None:
    for each in problems:
        say(f"{each.key}: {each.what}")
        for place in each.narrowings:
            say(f"  {place.path}: was {place.was}; is {place.now}")
        say(f"  → {each.remedy}")
    if problems:
        raise typer.Exit(1)

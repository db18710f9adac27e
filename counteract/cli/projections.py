"""`counteract projections …`: read models, how far behind they are, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.cli.application import Modules, objects
from counteract.cli.events import DatabaseUrl
from counteract.cli.keys import own_keys
from counteract.cli.output import AsJson, is_for_programs, say, say_document, say_table
from counteract.errors import CounteractError
from counteract.printable import printable

if TYPE_CHECKING:
    from counteract.dev.process import GuardedProcess
    from counteract.projections import MaterializedView, Projection
    from counteract.subscriptions.administration import Standing

app = typer.Typer(no_args_is_help=True, help="Read models and other subscriptions.")

_Processes = Annotated[
    int, typer.Option(min=1, help="How many processes share the work. No more than the projection has shards.")
]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the projection, or of another subscription.")]


@app.command("list")
def list_(database_url: DatabaseUrl, as_json: AsJson = None) -> None:
    """How far each has come, who has it, and what it could not handle."""
    asyncio.run(_list(database_url, as_json))


@app.command()
def pause(name: _Name, database_url: DatabaseUrl) -> None:
    """Deliver nothing from the next batch on, until it is resumed."""
    asyncio.run(_set_paused(database_url, name, paused=True))


@app.command()
def resume(name: _Name, database_url: DatabaseUrl) -> None:
    """Go on where it was paused."""
    asyncio.run(_set_paused(database_url, name, paused=False))


@app.command()
def rebuild(name: _Name, database_url: DatabaseUrl, modules: Modules = None, processes: _Processes = 1) -> None:
    """Fill a projection's table anew beside the live one, which is read meanwhile, and put it in its place in one step.

    Interrupted, it goes on from there when it is run again.
    """
    asyncio.run(_rebuild(database_url, _rebuildable(name, modules), modules or (), processes))


@app.command(hidden=True)
def take_part(name: _Name, database_url: DatabaseUrl, processes: _Processes, modules: Modules = None) -> None:
    """In a rebuild among several processes: the command that begins it starts the others so."""
    from counteract.projections.rebuild import take_part

    asyncio.run(take_part(database_url, _rebuildable(name, modules), processes, master_key=own_keys()))


@app.command()
def drop(name: _Name, database_url: DatabaseUrl, modules: Modules = None) -> None:
    """Remove a projection's table and its checkpoint. Not while a process has it, which would make them anew.

    NAME@rebuild is what is left of a rebuild that was interrupted.
    """
    from counteract.store.postgres.names import REBUILD, rebuilt

    if name.endswith(REBUILD):
        asyncio.run(_drop_rebuild(database_url, _rebuildable(rebuilt(name), modules)))
    else:
        asyncio.run(_drop(database_url, _found(name, modules)))


async def _list(url: str, as_json: bool | None) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.subscriptions.administration import standings

    with translated():
        async with await connect(url) as connection:
            found = await standings(connection)
    if is_for_programs(as_json):
        for each in found:
            say_document(_document(each))
        return
    if not found:
        say("nothing is subscribed")
        return
    say_table(("name", "shards", "status", "position", "behind", "for", "parked"), map(_row, found))


async def _set_paused(url: str, name: str, *, paused: bool) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.subscriptions.administration import set_paused

    with translated():
        async with await connect(url) as connection:
            await set_paused(connection, name, paused=paused)


async def _rebuild(url: str, projection: Projection, modules: Sequence[str], processes: int) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from counteract.projections.rebuild import Progress as Done
    from counteract.projections.rebuild import rebuild

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(printable(projection.name), total=None, rate="")

        def show(done: Done) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done.position, total=done.end, rate=f"{speed:,.0f} events/s" if speed else "")

        helpers = _helpers(url, projection.name, modules, processes)
        await rebuild(url, projection, shards=processes, helpers=helpers, master_key=own_keys(), progress=show)
    say(f"{projection.name} is rebuilt and live")


@asynccontextmanager
async def _helpers(url: str, name: str, modules: Sequence[str], processes: int) -> AsyncIterator[None]:
    """The other processes of a rebuild. Where one ends, what it had to do is the others'."""
    from counteract.dev.process import GuardedProcess, Launch

    named = [option for module in modules for option in ("--modules", module)]
    command = [sys.executable, "-m", "counteract.cli", "projections", "take-part", name, "--processes", str(processes)]
    launch = partial(Launch, command=[*command, *named], env=os.environ | {"DATABASE_URL": url}, stop_signal="SIGINT")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for number in range(1, processes):
            helper = await GuardedProcess.start(launch(name=f"helper {number}", log=folder / str(number)))
            stack.push_async_callback(_stop, helper)
        yield


async def _stop(helper: GuardedProcess) -> None:
    if helper.has_ended:
        say(f"a process ended early, and the others did its work: {helper.reason()}", aside=True)
    await helper.stop()


async def _drop(url: str, projection: Projection | MaterializedView) -> None:
    from counteract.projections.rebuild import drop

    await drop(url, projection)


async def _drop_rebuild(url: str, projection: Projection) -> None:
    from counteract.projections.rebuild import drop_rebuild

    await drop_rebuild(url, projection)


def _found(name: str, modules: list[str] | None) -> Projection | MaterializedView:
    from counteract.projections import MaterializedView, Projection

    known: dict[str, Projection | MaterializedView] = {
        **{each.name: each for each in objects(MaterializedView, "projections", modules)},
        **{each.name: each for each in objects(Projection, "projections", modules)},
    }
    if name not in known:
        raise CounteractError(
            f"there is no projection {name!r} in the code; there are {', '.join(sorted(known)) or 'none'}"
        )
    return known[name]


def _rebuildable(name: str, modules: list[str] | None) -> Projection:
    from counteract.projections import Projection

    found = _found(name, modules)
    if not isinstance(found, Projection):
        raise CounteractError(f"{name!r} is a view, and has no rebuild: each refresh makes it anew")
    return found


def _row(each: Standing) -> tuple[str, ...]:
    behind = f"{each.behind}+" if each.is_more_behind else str(each.behind)
    waited = f"{each.seconds_behind:.1f} s" if each.behind else ""
    return each.name, str(each.shards), each.status, str(each.position), behind, waited, str(each.parked or "")


def _document(each: Standing) -> dict[str, Any]:
    return {
        "name": each.name,
        "shards": each.shards,
        "status": each.status,
        "position": each.position,
        "behind": each.behind,
        "is_more_behind": each.is_more_behind,
        "seconds_behind": round(each.seconds_behind, 3),
        "parked": each.parked,
        "within_seconds": each.within_seconds,
    }

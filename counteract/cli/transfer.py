"""`counteract events export` and `counteract events import`: events to and from lines of JSON."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from counteract.cli.contracts import counted
from counteract.cli.files import named
from counteract.cli.output import say
from counteract.errors import CounteractError, WrongExpectedVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from counteract.store.transfer.bulk_import import Imported

_DatabaseUrl = Annotated[str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.")]


def export(
    file: Annotated[typer.FileBinaryWrite, typer.Argument(metavar="FILE", help="One event a line; - is the output.")],
    database_url: _DatabaseUrl = "",
    after: Annotated[int, typer.Option(min=0, help="Only events after this position.")] = 0,
) -> None:
    """Write the events to a file, as lines of JSON in the global order.

    Personal data stays sealed: to read it elsewhere, the table personal_keys and the master key must be there too.
    """
    with named(file.name):
        count, archived = asyncio.run(_export(_required(database_url), file, after))
    say(f"{count} events exported", aside=True)
    if archived:
        lacking = f"{counted(archived, 'archived stream')}: to have them whole, restore and export again"
        say(f"without the events of {lacking}", aside=True)


def import_(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE", help="Lines of JSON, as export writes them; - is the input."),
    ],
    database_url: _DatabaseUrl = "",
    go_on: Annotated[
        bool, typer.Option("--continue", help="Append to streams that hold other events, too, instead of refusing.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, max=100_000, help="Events that are stored at once.")] = 20_000,
) -> None:
    """Store the events of a file. Interrupted or refused, it is run again, and leaves out what is in already.

    Connect as the owner of the tables, who migrates. Data is stored as it stands: personal data is not sealed.
    """
    with _shown(_size(file)) as progress:
        try:
            with named(file.name):
                done = asyncio.run(_import(_required(database_url), file, batch_size, go_on, progress))
        except WrongExpectedVersion as error:
            remedy = "or let the import append after them: --continue" if not go_on else "run the import again"
            raise CounteractError(f"{error}: the stream has events that are not the file's; {remedy}") from error
    say(f"{done.stored} events imported, {done.present} were in already")


async def _export(url: str, output: BinaryIO, after: int) -> tuple[int, int]:
    """Export events. Returns how many, and how many streams are archived, some of whose events were not."""
    from counteract.store import PostgresEventStore
    from counteract.store.postgres.archived import count_archived
    from counteract.store.transfer.lines import exported

    count = 0
    async with PostgresEventStore.open(url, pool_size=1) as store:
        with _closed_if_it_fails(output):
            async for lines in exported(store, after=after):
                output.writelines(f"{line}\n".encode() for line in lines)
                count += len(lines)
            # Before anybody is told that it is there.
            output.flush()
        async with store.connection() as connection:
            return count, await count_archived(connection, after=after)


@contextmanager
def _closed_if_it_fails(output: BinaryIO) -> Iterator[None]:
    """Close a file that cannot be written: or it would be tried again as the command ends, and told in other words."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            output.close()
        raise


async def _import(
    url: str, lines: BinaryIO, batch_size: int, go_on: bool, progress: Callable[[Imported], None]
) -> Imported:
    from counteract.store.transfer.bulk_import import import_events

    return await import_events(url, lines, batch_size=batch_size, continue_streams=go_on, progress=progress)


@contextmanager
def _shown(size: int | None) -> Iterator[Callable[[Imported], None]]:
    """Show a bar on the terminal: by bytes, for only they are known beforehand."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("0 events", total=size)
        yield lambda done: bar.update(
            task, completed=done.bytes, description=f"{done.stored} events, {done.present} were in already"
        )


def _size(file: BinaryIO) -> int | None:
    """The size of a file in bytes; None for what is no file."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _required(database_url: str) -> str:
    if not database_url:
        raise CounteractError("which database? Give --database-url or set DATABASE_URL")
    return database_url

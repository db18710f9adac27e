"""`counteract store archive` and `counteract store restore`: events of closed streams to a file, and back."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.cli.contracts import counted
from counteract.cli.files import named
from counteract.cli.output import named_stream, say
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from counteract.store.archive.streams import Archived, Chosen, Restored

_Owner = Annotated[
    str,
    typer.Option(
        "--database-url", envvar="DATABASE_URL", metavar="URL", help="Where the event store is; as its owner."
    ),
]

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def archive(
    database_url: _Owner,
    file: Annotated[Path, typer.Option("--to", metavar="FILE", help="A new file, lines of JSON in gzip.")],
    category: Annotated[str | None, typer.Option(help="The idle streams of this aggregate type.")] = None,
    idle_for: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How old their last event is at least, such as 365d or 12h.")
    ] = None,
    streams: Annotated[
        list[str] | None, typer.Option("--stream", metavar="TYPE/ID", help="This stream; may be repeated.")
    ] = None,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Go on with a file that exists, after an archiving that broke off.")
    ] = False,
) -> None:
    """Move the events of closed streams to a file, but for each stream's last one.

    They leave the store only when the file is on the disk and was read back. See docs/how-to/archive-streams.md first.
    """
    chosen = _chosen(category, idle_for, streams, go_on)
    with named(file):
        done = asyncio.run(_archive(database_url, chosen, file))
    for line in _told(done, file):
        say(line)


def restore(
    database_url: _Owner,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `counteract store archive` wrote.")],
) -> None:
    """Put the events of an archive back where they were. Safe to repeat."""
    with named(file):
        done = asyncio.run(_restore(database_url, file))
    present = f", {counted(done.present, 'stream')} had never left or {'was' if done.present == 1 else 'were'} back"
    say(f"{_amount(done)} restored from {file.name}" + (present if done.present else ""))


def _chosen(category: str | None, idle_for: str | None, streams: list[str] | None, go_on: bool) -> Chosen | None:
    """The streams that are to be archived; None to go on with a file. Raises CounteractError."""
    from counteract.store.archive.streams import Idle, Named

    given = [bool(category and idle_for), bool(streams), go_on]
    if sum(given) != 1 or bool(category) != bool(idle_for):
        raise CounteractError("archive what? Give --category with --idle-for, or --stream, or --continue")
    if streams:
        return Named([named_stream(name) for name in streams])
    return Idle(category, _duration(idle_for)) if category and idle_for else None


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([dhms])", text)
    if not found:
        raise CounteractError(f"{text!r} is no duration: write a number and d, h, m or s, as in 365d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


async def _archive(url: str, chosen: Chosen | None, file: Path) -> Archived:
    from counteract.store.archive.streams import archive_streams, continue_archiving

    return await (archive_streams(url, chosen, file) if chosen else continue_archiving(url, file))


async def _restore(url: str, file: Path) -> Restored:
    from counteract.store.archive.streams import restore_streams

    return await restore_streams(url, file)


def _told(done: Archived, file: Path) -> list[str]:
    if not done.streams and not done.left:
        return ["nothing to archive: no stream of more than one event has been idle for so long"]
    left = f"{counted(done.left, 'stream')} stayed whole: appended to since the file was written"
    return [f"{_amount(done)} archived in {file.name}: keep it", *([left] if done.left else [])]


def _amount(done: Archived | Restored) -> str:
    return f"{counted(done.events, 'event')} of {counted(done.streams, 'stream')}"

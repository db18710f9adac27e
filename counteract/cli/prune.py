"""`counteract sagas prune`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.cli.events import DatabaseUrl
from counteract.cli.output import say, say_progress
from counteract.cli.temporal import Address, Namespace, connected, told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from counteract.participants.retention import Pruned


def prune(
    older_than: Annotated[
        int,
        typer.Option(
            metavar="DAYS", min=1, max=36_500, help="Sagas that ended longer ago: more than the server keeps workflows."
        ),
    ],
    database_url: DatabaseUrl,
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it, only say how many.")] = False,
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Delete the records of sagas that are over, and those of their commands. Their events stay.

    Only of sagas that the Temporal server no longer knows, so that none can be reset: make sure that it is the right one.
    """
    asyncio.run(_prune(timedelta(days=older_than), database_url, yes, (address, namespace)))


async def _prune(older_than: timedelta, url: str, deletes: bool, on: tuple[str | None, str | None]) -> None:
    from counteract.participants.retention import Pruned
    from counteract.participants.retention import prune as pruned
    from counteract.store import PostgresEventStore

    client, done = await connected(*on), Pruned()
    async with told(), PostgresEventStore.open(url, pool_size=2) as store:
        async for done in pruned(client, store, older_than, deletes=deletes):
            say_progress(f"{done.sagas} sagas")
    for line in _said(done, deletes):
        say(line)


def _said(done: Pruned, deletes: bool) -> Sequence[str]:
    kept = {
        "which the server still has": done.known,
        "with effects that came late and are yet to be undone": done.late,
        "for a parent or a child of theirs": done.family,
    }
    what = "deleted" if deletes else "to delete with --yes"
    first = f"{what}: {done.sagas} sagas with {done.commands} commands"
    return [first, *(f"kept: {count} {why}" for why, count in kept.items() if count)]

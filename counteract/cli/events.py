"""`counteract events`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.errors import CounteractError
from counteract.messages import StreamId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from counteract.store import StoredEvent

_BATCH = 1000


def events(
    stream: Annotated[
        str | None, typer.Argument(metavar="[TYPE/ID]", help="One stream, such as saga/order-1; by default all.")
    ] = None,
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.")
    ] = "",
    after: Annotated[int, typer.Option(min=0, help="Only events after this position.")] = 0,
) -> None:
    """What the event store holds, in the order in which it happened."""
    if not database_url:
        raise CounteractError("which database? Give --database-url or set DATABASE_URL")
    asyncio.run(_events(database_url, stream_id(stream) if stream else None, after))


async def _events(url: str, stream: StreamId | None, after: int) -> None:
    from counteract.store import PostgresEventStore

    async with PostgresEventStore.open(url, pool_size=1) as store:
        if stream:
            _print([each for each in await store.read_stream(stream) if each.position > after])
            return
        while batch := await store.read(after=after, limit=_BATCH):
            _print(batch)
            after = batch[-1].position


def stream_id(name: str) -> StreamId:
    """From its type and id, as in saga/order-1. Raises CounteractError."""
    aggregate_type, slash, aggregate_id = name.partition("/")
    if not slash:
        raise CounteractError(f"{name!r} is no stream: write its type and its id, as in saga/order-1")
    return StreamId(aggregate_type, aggregate_id)


def _print(events: Sequence[StoredEvent]) -> None:
    """One line each: position, stream, version in it, event type and data."""
    rows = [(str(each.position), str(each.stream), str(each.version), each.event_type, each.data) for each in events]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for *cells, data in rows:
        print(*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), data, sep="  ")

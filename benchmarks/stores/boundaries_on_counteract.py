"""Decisions by query, as an application makes them with Counteract."""

from __future__ import annotations

from uuid_utils.compat import uuid7

from benchmarks.stores.boundaries import NOTE, PLACES, decided
from benchmarks.stores.workload import METADATA, POOL_SIZE, Answer
from counteract import Event, StreamId
from counteract.errors import BoundaryChanged
from counteract.store import NO_STREAM, PostgresEventStore, Query


class Taken(Event, tags=lambda event: [event.what]):
    what: str
    note: str


async def decide(url: str, *, what: str, writers: int, decisions: int) -> Answer:
    async with PostgresEventStore.open(url, pool_size=POOL_SIZE) as store:

        async def take(subject: str) -> None:
            query, places = Query.of(Taken, tags=[subject]), 1 if what == "name" else PLACES
            while True:
                found = await store.find(query)
                assert len(found.events) < places
                try:
                    await store.append(
                        StreamId(what, str(uuid7())),
                        [Taken(what=subject, note=NOTE)],
                        expect=NO_STREAM,
                        metadata=METADATA,
                        unless=query.since(found.position),
                    )
                except BoundaryChanged:
                    continue
                return

        await decided(take, what=what, writers=writers, decisions=20 * writers)
        return await decided(take, what=what, writers=writers, decisions=decisions)

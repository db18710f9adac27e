"""Decisions by query, as an application makes them with Counteract."""

from __future__ import annotations

from uuid_utils.compat import uuid7

from benchmarks.stores.boundaries import NOTE, PLACES, decided
from benchmarks.stores.workload import METADATA, POOL_SIZE, Answer
from counteract import Decider, Event, StreamId
from counteract.store import NO_STREAM, PostgresEventStore, Query, decide_where


class Taken(Event, tags=lambda event: [event.what]):
    what: str
    note: str


def _counted(taken: int, _: Taken) -> int:
    return taken + 1


count = Decider("taken", initial=0, evolve=_counted, events=Taken)


async def decide(url: str, *, what: str, writers: int, decisions: int) -> Answer:
    async with PostgresEventStore.open(url, pool_size=POOL_SIZE) as store:

        async def take(subject: str) -> None:
            places = 1 if what == "name" else PLACES

            def claim(taken: int) -> list[Taken]:
                assert taken < places
                return [Taken(what=subject, note=NOTE)]

            await decide_where(
                store,
                Query.of(Taken, tags=[subject]),
                count,
                StreamId(what, str(uuid7())),
                claim,
                expect=NO_STREAM,
                metadata=METADATA,
                attempts=1000,
            )

        await decided(take, what=what, writers=writers, decisions=20 * writers)
        return await decided(take, what=what, writers=writers, decisions=decisions)

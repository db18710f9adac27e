"""Readers beside writers at their worst: the one that proves its mark misses nothing, and the naive one does."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import pytest
from uuid_utils.compat import uuid7

from counteract.dev.fixtures import as_application, fresh_database
from counteract.dev.postgres import EmbeddedPostgres
from counteract.messages import StreamId
from counteract.store import PostgresEventStore, StoredEvent
from counteract.store.postgres.connect import Connection, connect
from counteract.store.postgres.high_water_mark import HighWaterMark
from counteract.store.postgres.read import read_page
from counteract.store.transfer.bulk_import import import_events
from tests.counters import counter
from tests.writers import Connect, append, writing

pytestmark = [pytest.mark.integration, pytest.mark.long]

_PAGE = 50


@pytest.fixture
async def session(app_url: str) -> AsyncIterator[Connect]:
    """Opens connections as the application does, and closes them in the end."""
    async with AsyncExitStack() as opened:

        async def open_one() -> Connection:
            return await opened.enter_async_context(await connect(app_url))

        yield open_one


class Reader:
    """Goes on after the last event that it saw, which is all that it keeps."""

    def __init__(self) -> None:
        self.seen: list[StoredEvent] = []

    async def step(self) -> None:
        after = self.seen[-1].position if self.seen else 0
        self.seen += await self.page(after)

    async def page(self, after: int) -> Sequence[StoredEvent]:
        raise NotImplementedError

    async def finish(self) -> None:
        """When everything is committed."""
        before = -1
        while before < len(self.seen):
            before = len(self.seen)
            await self.step()

    @property
    def positions(self) -> Sequence[int]:
        return [each.position for each in self.seen]


class Naive(Reader):
    """Takes whatever is there."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    async def page(self, after: int) -> Sequence[StoredEvent]:
        return (await read_page(self._connection, after=after, up_to=2**62, limit=_PAGE)).events


class Proving(Reader):
    """Goes up to its mark; loses its connection now and then, and what it had proved with it."""

    def __init__(self, connect: Connect, chance: Random) -> None:
        super().__init__()
        self._connect = connect
        self._chance = chance
        self._mark: HighWaterMark | None = None

    async def page(self, after: int) -> Sequence[StoredEvent]:
        if self._mark is None or self._chance.random() < 0.01:
            self._connection = await self._connect()
            self._mark = HighWaterMark(self._connection)
        return (await read_page(self._connection, after=after, up_to=await self._mark.advance(), limit=_PAGE)).events

    async def finish(self) -> None:
        assert self._mark is not None
        await self._mark.settled(timeout=5)
        await super().finish()


class ThroughTheStore(Reader):
    """As an application reads, who waits for what is under way."""

    def __init__(self, store: PostgresEventStore) -> None:
        super().__init__()
        self._store = store

    async def page(self, after: int) -> Sequence[StoredEvent]:
        return await self._store.read(after=after, limit=_PAGE)


@asynccontextmanager
async def busy_elsewhere(postgres: EmbeddedPostgres, session: Connect) -> AsyncIterator[None]:
    """Write transactions that stay open for as long as this lasts, here, prepared, and in another database."""
    here, prepared = await session(), await session()
    async with fresh_database(postgres) as url, await connect(as_application(postgres, url)) as elsewhere:
        await here.execute("begin")
        await here.execute("insert into subscriptions (name) values ('here')")
        await prepared.execute("begin")
        await prepared.execute("insert into subscriptions (name) values ('prepared')")
        await prepared.execute("prepare transaction 'elsewhere'")
        await elsewhere.execute("begin")
        await append(elsewhere, "elsewhere")
        yield
        await elsewhere.execute("rollback")
        await prepared.execute("rollback prepared 'elsewhere'")
        await here.execute("rollback")


async def import_some(owner_url: str) -> None:
    """By COPY, through no function of ours."""
    for number in range(20):
        await import_events(owner_url, [imported(f"imported-{number}") for _ in range(10)])


def imported(stream: str) -> bytes:
    fields = {"event_id": str(uuid7()), "event_type": "Counted", "event_data": {"amount": 1}}
    return json.dumps(fields | counter(stream)._asdict()).encode()


async def read_until(is_over: Callable[[], bool], reader: Reader) -> None:
    while not is_over():
        await reader.step()


def versions_by_stream(events: Sequence[StoredEvent]) -> Sequence[Sequence[int]]:
    """In the order in which they were seen."""
    streams = defaultdict[StreamId, list[int]](list)
    for each in events:
        streams[each.stream].append(each.version)
    return list(streams.values())


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_missed_and_nothing_seen_twice(
    postgres: EmbeddedPostgres, database_url: str, event_store: PostgresEventStore, session: Connect, seed: int
) -> None:
    """The same events for all readers, from the first one on. The one that goes by the highest position it saw loses some."""
    naive, proving = Naive(await session()), Proving(session, Random(seed))
    readers = [naive, proving, ThroughTheStore(event_store)]
    for each in readers:
        await each.step()
        assert not each.seen
    async with busy_elsewhere(postgres, session):
        async with writing(session, writers=20, transactions=40, seed=seed) as done, asyncio.TaskGroup() as group:
            importing = group.create_task(import_some(database_url))
            for each in readers:
                group.create_task(read_until(lambda: done() and importing.done(), each))
        # Those elsewhere have not ended yet.
        for each in readers:
            await each.finish()

    stored = Naive(await session())
    await stored.finish()
    assert len(stored.seen) > 500
    for each in readers[1:]:
        assert each.positions == stored.positions
        assert all(versions == list(range(1, len(versions) + 1)) for versions in versions_by_stream(each.seen))
    assert set(naive.positions) < set(stored.positions), "the writers were too tame to show anything"

"""A sink whose events are rare is not looked for in the whole log at each start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract.projections import Projection, reached
from counteract.projections.sinks import Layout, RedisHashes, Shown
from counteract.projections.sinks.subscriber import SinkSubscriber
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.connect import connect
from counteract.subscriptions import position_of
from tests.counters import Counted, counter
from tests.integration.projections.scores import Scored, play, player, points, running, scores
from tests.integration.projections.sink_places import PATIENCE, InOpenSearch, InRedis, opened, soon

pytestmark = [pytest.mark.integration, pytest.mark.readside]


@pytest.fixture
async def sink(redis: InRedis, name: str) -> AsyncIterator[RedisHashes]:
    async with opened(sink := redis.sink(name)):
        yield sink


async def others(store: PostgresEventStore) -> Shown:
    """Events that no sink is about; the last of them."""
    appended = await store.append(counter("a"), [Counted()] * 50, expect=ANY)
    (last,) = await store.read(after=appended.position - 1)
    return Shown(last.position, str(last.event_id))


async def prepare(engine: AsyncEngine, projection: Projection) -> Shown | None:
    """As at a start; where the sink says it is then."""
    assert projection.sink
    async with engine.begin() as connection:
        await SinkSubscriber(projection, projection.sink).prepare(connection)
    return await projection.sink.prepare(projection.layout, projection.fingerprint)


async def test_what_was_looked_through_once_is_not_looked_through_again(
    sink: RedisHashes, name: str, event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    projection = scores(name, sink)
    await play(event_store, 1)
    last = await others(event_store)
    async with running(app_url, projection):
        await reached(event_store, name, last.position, timeout=PATIENCE)
    assert await prepare(engine, projection) == last
    await play(event_store, 1)
    async with running(app_url, projection):
        await reached(event_store, name, last.position + 4, timeout=PATIENCE)
    assert (await sink.read(projection, "all") or {})["points"] == 8


async def test_an_index_that_never_had_a_row_is_looked_for_once(
    name: str, event_store: PostgresEventStore, engine: AsyncEngine
) -> None:
    last = await others(event_store)
    await at(engine, name, last.position)
    async with InOpenSearch.open() as place, opened(place.sink(name)) as index:
        projection = scores(name, index)
        assert await index.prepare(projection.layout, projection.fingerprint) == Shown(0)
        assert await prepare(engine, projection) is None


async def test_nothing_is_passed_over_once_another_process_has_gone_back(
    sink: RedisHashes, name: str, event_store: PostgresEventStore, engine: AsyncEngine, redis: InRedis, app_url: str
) -> None:
    """It has read the checkpoint before, and finds nothing any more that it would go back for."""

    class Overtaken(RedisHashes):
        async def prepare(self, layout: Layout, code: str) -> Shown:
            shown = await super().prepare(layout, code)
            await at(engine, name, 0)
            return shown

    await play(event_store, 1)
    last = await others(event_store)
    await at(engine, name, last.position)
    async with opened(Overtaken(redis.url, prefix=f"{name}:")) as overtaken:
        await prepare(engine, scores(name, overtaken))
    async with running(app_url, scores(name, sink)):
        await soon(partial(points, redis, scores(name, sink)), {"0": 1, "1": 1, "2": 1, "3": 1, "all": 4})


async def at(engine: AsyncEngine, name: str, position: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "insert into subscriptions (name, position) values (:name, :position)"
                " on conflict (name, shard) do update set position = excluded.position"
            ),
            {"name": name, "position": position},
        )


async def test_a_look_takes_longer_than_a_statement_may(
    sink: RedisHashes, name: str, event_store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    last = await event_store.append(player("0"), [Scored(points=1)], expect=ANY)
    await at(engine, name, last.position)
    projection = scores(name, sink)

    async def hold_up() -> None:
        async with await connect(database_url) as owner, owner.transaction():
            await owner.execute("lock table events in access exclusive mode")
            held.set()
            await asyncio.sleep(1.5)

    held = asyncio.Event()
    holding = asyncio.create_task(hold_up())
    await held.wait()
    async with engine.begin() as connection:
        await connection.execute(text("set local statement_timeout = '500ms'"))
        await SinkSubscriber(projection, sink).prepare(connection)
    await holding
    # What it has never shown, it has gone back to.
    assert await position_of(event_store, name) == 0

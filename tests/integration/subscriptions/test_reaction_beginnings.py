"""A reaction that leaves the past alone answers all that is committed after its first start, whatever position that has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract.errors import StoreUnavailable
from counteract.messages import Recorded, StreamId
from counteract.reactions import Reaction, reacts_to, start
from counteract.reactions.start import Beginning
from counteract.store import PostgresEventStore
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_PLACEHOLDERS, append_arguments
from counteract.store.postgres.connect import Connection, connect
from counteract.subscriptions import position_of
from counteract.subscriptions.administration import standings
from counteract.subscriptions.parked import parked_streams
from counteract.subscriptions.shard_count import set_up
from tests.counters import Counted, Renamed
from tests.integration.subscriptions.running_reactions import count, running
from tests.travel.world import World
from tests.writers import append

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0


def noting(asked: list[str]) -> Reaction:
    @reacts_to(Counted, name=f"note-{uuid4().hex[:8]}")
    def note(recorded: Recorded[Counted]) -> None:
        asked.append(recorded.stream.aggregate_id)

    return note


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in a database
            await asyncio.sleep(0.02)


async def test_what_was_under_way_at_its_first_start_is_answered_and_what_was_there_is_not(
    world: World, app_url: str
) -> None:
    asked: list[str] = []
    async with await connect(app_url) as other:
        await other.execute("begin")
        await append(other, "under way", events=2)
        await count(world, "before")
        async with running(app_url, world.client, noting(asked)):
            await asyncio.sleep(1)
            await other.execute("commit")
            await count(world, "under way")
            await count(world, "after")
            await until(lambda: "after" in asked)
    assert asked == ["under way"] * 3 + ["after"]


async def test_what_comes_while_it_waits_in_vain_for_an_append_is_answered(
    world: World, app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_PATIENCE", 0.1)
    asked: list[str] = []
    async with await connect(app_url) as other:
        await other.execute("begin")
        await append(other, "under way")
        await count(world, "before")
        async with running(app_url, world.client, noting(asked)):
            await asyncio.sleep(1)
            await count(world, "meanwhile")
            await asyncio.sleep(1)
            await other.execute("commit")
            await until(lambda: len(asked) == 2)
    assert sorted(asked) == ["meanwhile", "under way"]


async def test_it_begins_once_also_where_the_log_is_empty(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    async def begin() -> None:
        async with engine.begin() as connection:
            await Beginning("reaction note", ["Counted"]).make(connection)

    async with await connect(app_url) as other:
        await set_up(other, "reaction note", 1)
        await begin()
        await append(other, "after")
        await begin()
    assert await position_of(store, "reaction note") == 0


async def test_of_two_processes_that_start_it_at_once_one_begins_it(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    async def begin() -> None:
        async with engine.begin() as connection:
            await Beginning("reaction note", ["Counted"]).make(connection)

    async def parked(connection: Connection) -> list[tuple[object, ...]]:
        return await (await connection.execute("select position, redrive from parked_events")).fetchall()

    async with await connect(app_url) as other, await connect(app_url) as observer:
        await set_up(observer, "reaction note", 1)
        await other.execute("begin")
        await append(other, "under way")
        await append(observer, "before")
        both = [asyncio.create_task(begin()) for _ in range(2)]
        await asyncio.sleep(0.5)
        await other.execute("commit")
        await asyncio.gather(*both)
        assert await position_of(store, "reaction note") == 2
        assert await parked(observer) == [(1, True)]


async def begin(engine: AsyncEngine, beginning: Beginning) -> None:
    async with engine.begin() as connection:
        await beginning.make(connection)


async def test_all_processes_go_by_what_the_first_one_saw(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_PATIENCE", 0.1)
    async with await connect(app_url) as other, await connect(app_url) as observer:
        await set_up(observer, "reaction note", 1)
        await append(observer, "before")
        await other.execute("begin")
        await append(other, "under way")
        with pytest.raises(StoreUnavailable):
            await begin(engine, Beginning("reaction note", ["Counted"]))
        await append(observer, "meanwhile")
        monkeypatch.setattr(start, "_PATIENCE", PATIENCE)
        second = asyncio.create_task(begin(engine, Beginning("reaction note", ["Counted"])))
        await asyncio.sleep(0.5)
        await other.execute("commit")
        await second
        assert await position_of(store, "reaction note") == 2
        late = await observer.execute("select position, aggregate_id, redrive, discarded_at from parked_events")
        assert await late.fetchall() == [(2, "under way", True, None)]


async def test_what_was_seen_is_told_to_nobody_while_it_waits(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_PATIENCE", 0.1)
    async with await connect(app_url) as other, await connect(app_url) as observer:
        await set_up(observer, "reaction note", 1)
        await other.execute("begin")
        await append(other, "under way")
        with pytest.raises(StoreUnavailable):
            await begin(engine, Beginning("reaction note", ["Counted"]))
        assert await parked_streams(observer) == []
        assert [(each.position, each.parked) for each in await standings(observer)] == [(0, 0)]


async def test_beside_a_release_that_has_begun_it_nothing_is_left_of_what_was_seen(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_PATIENCE", 0.1)
    async with await connect(app_url) as other, await connect(app_url) as observer:
        await set_up(observer, "reaction note", 1)
        await other.execute("begin")
        await append(other, "under way")
        with pytest.raises(StoreUnavailable):
            await begin(engine, Beginning("reaction note", ["Counted"]))
        await other.execute("commit")
        await observer.execute("update subscriptions set position = 1, epoch = 1")
        await begin(engine, Beginning("reaction note", ["Counted"]))
        assert await (await observer.execute("select position from parked_events")).fetchall() == []
    assert await position_of(store, "reaction note") == 1


async def test_what_it_has_parked_or_somebody_discarded_stays_where_a_stream_has_an_empty_name(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    async with await connect(app_url) as observer:
        await set_up(observer, "reaction note", 1)
        await begin(engine, Beginning("reaction note", ["Counted"]))
        await observer.execute(
            "insert into parked_events (subscription, position, aggregate_type, aggregate_id, error, discarded_at, discarded_why) "
            "values ('reaction note', 1, '', 'a', 'no luck', null, null), ('reaction note', 2, '', '', null, now(), 'never mind')"
        )
        await begin(engine, Beginning("reaction note", ["Counted"]))
        left = await observer.execute("select position, aggregate_id from parked_events order by position")
        assert await left.fetchall() == [(1, "a"), (2, "")]


async def test_what_was_under_way_in_a_stream_of_an_empty_name_is_answered(world: World, app_url: str) -> None:
    asked: list[str] = []

    @reacts_to(Renamed, name=f"note-{uuid4().hex[:8]}")
    def note(recorded: Recorded[Renamed]) -> None:
        asked.append(recorded.event.name)

    changes = [StreamChange(StreamId("", "a"), 0, 0, [Renamed(name="under way")])]
    async with await connect(app_url) as other:
        await other.execute("begin")
        await other.execute(f"select append_events({APPEND_PLACEHOLDERS})", append_arguments(changes, {}).literals)
        await count(world, "before")
        async with running(app_url, world.client, note):
            await asyncio.sleep(1)
            await other.execute("commit")
            await until(lambda: bool(asked))
    assert asked == ["under way"]

"""Inline projections beside code of another release: of those that append, and of those that ran them before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Text, text
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Recorded
from counteract.errors import ConfigurationError, InlineProjectionMissing
from counteract.projections import Increment, MaterializedView, Projection, ProjectionRunner, reached
from counteract.projections.rebuild import rebuild
from counteract.store import ANY, PostgresEventStore
from counteract.store.archive.streams import Named, archive_streams
from counteract.store.postgres.connect import connect
from counteract.subscriptions.administration import NoSuchSubscription, set_paused, standings
from tests.counters import Counted, CounterReset, Renamed, counter
from tests.integration.projections.inline_totals import enter, opened, rows, totals
from tests.writers import append

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    async with opened(app_url, totals()) as store:
        yield store


def newer_totals() -> Projection:
    """Of a later release, which handles another event."""
    projection = totals()

    @projection.on(Renamed)
    def renamed(recorded: Recorded[Renamed]) -> Increment:
        return Increment(recorded.event.name, "total", 100)

    return projection


async def test_a_writer_whose_code_handles_fewer_events_of_it_is_refused_those(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    async with opened(app_url, newer_totals()) as newer:
        # An event beside it that the old code does handle makes no difference.
        for events in ([Renamed(name="b")], [Counted(), Renamed(name="b")]):
            with pytest.raises(InlineProjectionMissing, match="the code that it was last rebuilt with"):
                await store.append(counter("a"), events, expect=ANY)
        await store.append(counter("a"), [Counted()], expect=ANY)
        await newer.append(counter("a"), [Renamed(name="b")], expect=ANY)

    assert await rows(engine) == {"a": 1, "*": 1, "b": 100}


async def test_code_that_handles_more_events_of_it_asks_for_a_rebuild_where_some_are_stored(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    await store.append(counter("a"), [Renamed(name="b")], expect=ANY)

    with pytest.raises(ConfigurationError, match=r"handles Renamed too by now.*counteract projections rebuild totals"):
        async with opened(app_url, newer_totals()):
            pass

    # It was refused as a whole: the old code is asked for no more than before.
    await store.append(counter("a"), [Renamed(name="b")], expect=ANY)
    await rebuild(app_url, newer_totals())
    async with opened(app_url, newer_totals()):
        assert await rows(engine) == {"b": 200}


def other_totals() -> Projection:
    """Of a later release, which handles another event, and one no more that the release before handles."""
    projection = Projection(
        "totals",
        Column("counter", Text, primary_key=True),
        Column("total", BigInteger, nullable=False, default=0),
        Column("last", BigInteger),
        inline=True,
    )

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Increment:
        return Increment(recorded.stream.aggregate_id, "total", recorded.event.amount)

    @projection.on(Renamed)
    def renamed(recorded: Recorded[Renamed]) -> Increment:
        return Increment(recorded.event.name, "total", 100)

    projection.ignores(CounterReset)
    return projection


async def test_code_that_handles_another_event_takes_none_away_from_whoever_began_it(
    store: PostgresEventStore, app_url: str
) -> None:
    async with opened(app_url, other_totals()) as newer:
        with pytest.raises(InlineProjectionMissing):
            await newer.append(counter("a"), [CounterReset()], expect=ANY)
    async with opened(app_url, totals()) as older:
        await older.append(counter("a"), [CounterReset()], expect=ANY)


async def test_after_a_rebuild_it_is_kept_for_the_events_of_that_code_alone(
    store: PostgresEventStore, app_url: str
) -> None:
    await rebuild(app_url, other_totals())
    async with opened(app_url, other_totals()) as newer:
        await newer.append(counter("a"), [CounterReset()], expect=ANY)


async def test_of_two_releases_that_begin_it_at_once_both_are_asked_for_their_events(app_url: str) -> None:
    async with await connect(app_url) as blocking:
        await blocking.execute("begin")
        # The two find that nobody keeps it, and then wait.
        await append(blocking, "a")
        both = [asyncio.create_task(enter(opened(app_url, each))) for each in (totals(), other_totals())]
        await asyncio.sleep(0.5)
        await blocking.execute("rollback")
    await asyncio.gather(*both)
    async with await connect(app_url) as connection:
        row = await (await connection.execute("select event_types from inline_projections")).fetchone()
    assert row
    assert set(row[0]) == {"CounterReset", "Counted", "Renamed"}


async def test_a_process_that_runs_it_where_it_became_inline_leaves_no_position_behind(
    app_url: str, event_store: PostgresEventStore
) -> None:
    await event_store.append(counter("a"), [Counted()], expect=ANY)
    await rebuild(app_url, totals())
    with pytest.raises(ConfigurationError, match="kept by whoever appends"):
        await asyncio.wait_for(ProjectionRunner(app_url, [totals(inline=False)]).run(), PATIENCE)
    async with await connect(app_url) as connection:
        assert await (await connection.execute("select name, position from subscriptions")).fetchall() == []


@pytest.fixture
async def left(store: PostgresEventStore, app_url: str) -> None:
    """A position such as a process of the release before has left behind."""
    async with await connect(app_url) as connection:
        await connection.execute("insert into subscriptions (name) values ('totals')")


@pytest.mark.usefixtures("left")
async def test_a_position_that_was_left_of_it_is_not_waited_for(store: PostgresEventStore) -> None:
    appended = await store.append(counter("a"), [Counted()], expect=ANY)
    await reached(store, "totals", appended.position, timeout=1)


@pytest.mark.usefixtures("left")
async def test_a_view_of_it_is_refreshed_whatever_position_was_left(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    view = MaterializedView(
        "greatest", "select 1 as one, max(total) as total from totals", of=[totals()], unique=["one"]
    )
    running = asyncio.create_task(ProjectionRunner(app_url, [view]).run())
    appended = await store.append(counter("a"), [Counted(amount=7)], expect=ANY)
    try:
        await reached(store, "greatest", appended.position, timeout=PATIENCE)
    finally:
        running.cancel()
        await asyncio.wait([running])
    async with engine.connect() as connection:
        assert (await connection.execute(text("select total from greatest"))).scalars().all() == [7]


@pytest.mark.usefixtures("left")
async def test_its_streams_can_be_archived_whatever_position_was_left(
    store: PostgresEventStore, database_url: str, tmp_path: Path
) -> None:
    await store.append(counter("a"), [Counted(), Counted()], expect=ANY)
    assert (await archive_streams(database_url, Named([counter("a")]), tmp_path / "archive")).streams == 1


@pytest.mark.usefixtures("left")
async def test_it_is_listed_once_and_has_no_pause_whatever_position_was_left(app_url: str) -> None:
    async with await connect(app_url) as connection:
        assert [(each.name, each.status) for each in await standings(connection)] == [("totals", "inline")]
        with pytest.raises(NoSuchSubscription, match="'totals' is inline"):
            await set_paused(connection, "totals", paused=True)

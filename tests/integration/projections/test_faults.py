"""What projections go through, and what their rows are afterwards: what the events say, each of them once."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from sqlalchemy import Column, Text
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Recorded
from counteract.dev import EmbeddedPostgres
from counteract.dev.fixtures import as_application
from counteract.errors import StoreUnavailable
from counteract.projections import Projection, ProjectionRunner, Put, reached
from counteract.projections.rebuild import rebuild
from counteract.store import ANY, PostgresEventStore
from counteract.subscriptions.parked import parked_streams
from tests.counters import Counted, CounterReset, Renamed, counter
from tests.integration.projections.rebuilds import rows, running, totals, write
from tests.small_disk import SmallDisk, fetch, incompressible

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 30.0
_CUT = """
    select count(pg_terminate_backend(pid)) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""


async def test_connections_that_are_cut_again_and_again_lose_and_repeat_nothing(
    store: PostgresEventStore, app_url: str, database_url: str
) -> None:
    last = await write(store, 400)
    cuts = 0
    async with running(app_url, totals()):
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as owner:
            for _ in range(15):
                await asyncio.sleep(0.05)
                row = await (await owner.execute(_CUT)).fetchone()
                cuts += row[0] if row else 0
        async with PostgresEventStore.open(app_url) as again:
            last = await write(again, 50)
            await reached(again, "totals", last, timeout=PATIENCE)
    assert cuts > 4
    assert await fetch(database_url, "select sum(total) from counteract_app.totals") == "450"


async def test_a_server_that_is_restarted_loses_and_repeats_nothing(
    store: PostgresEventStore, app_url: str, database_url: str, postgres: EmbeddedPostgres
) -> None:
    await write(store, 400)
    async with running(app_url, totals()):
        for _ in range(2):
            await asyncio.sleep(0.3)
            await postgres.stop()
            await postgres.start()
        async with PostgresEventStore.open(app_url) as again:
            await reached(again, "totals", await write(again, 50), timeout=PATIENCE)
    assert await fetch(database_url, "select sum(total) from counteract_app.totals") == "450"


async def test_a_disk_that_is_full_is_waited_for(
    postgres: EmbeddedPostgres, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Projection("notes", Column("name", Text, primary_key=True), Column("note", Text))

    @notes.on(Counted)
    def noted(recorded: Recorded[Counted]) -> Put:
        return Put(str(recorded.version), {"note": (recorded.event.note or "")[:100_000]})

    notes.ignores(CounterReset)
    owner_url = postgres.url_of("crowded")
    url = as_application(postgres, owner_url)
    async with PostgresEventStore.open(url) as store:

        async def fill() -> None:
            for _ in range(99):
                await store.append(counter("a"), [Counted(note=incompressible(300_000))], expect=ANY)

        with pytest.raises(StoreUnavailable, match="disk is full"):
            await fill()
        running = asyncio.create_task(ProjectionRunner(url, [notes]).run())
        async with asyncio.timeout(PATIENCE):
            while "subscription 'notes' waits" not in caplog.text:  # noqa: ASYNC110 - in another task's log
                await asyncio.sleep(0.02)
        small_disk.grow()
        await reached(store, "notes", await store.high_water_mark(), timeout=PATIENCE)
        running.cancel()
        await asyncio.wait([running])
        async with store.connection() as connection:
            assert await parked_streams(connection) == []
        events = await store.read(limit=1000)
    assert await fetch(owner_url, "select count(*) from counteract_app.notes") == str(len(events))


async def test_of_two_versions_at_once_each_event_is_counted_once_and_a_rebuild_makes_the_rows_the_later_ones(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    """Which of them handles an event is chance; that one of them does, once, is not."""
    later = totals(by=2)

    @later.on(Renamed)
    def renamed(recorded: Recorded[Renamed]) -> Put:
        return Put(f"{recorded.stream.aggregate_id}-named", {"total": 0})

    async with running(app_url, totals()):
        await reached(store, "totals", await write(store, 20), timeout=PATIENCE)
        async with running(app_url, later):
            await reached(store, "totals", await write(store, 100), timeout=PATIENCE)
    async with running(app_url, later):
        await reached(store, "totals", await write(store, 100), timeout=PATIENCE)
        mixed = sum((await rows(engine, later)).values())
        assert 220 + 100 <= mixed <= 220 + 200
        await rebuild(app_url, later)
        await reached(store, "totals", await write(store, 10), timeout=PATIENCE)
    assert await rows(engine, later) == {str(each): 2 * 230 // 5 for each in range(5)}

"""A materialized view is refreshed after events, beside its readers, and never left stale."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from functools import partial
from time import monotonic

import pytest
from sqlalchemy import Column, Integer, Text, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Recorded
from counteract.errors import ConfigurationError, ProjectionBehind, StoreError
from counteract.projections import Increment, MaterializedView, Projection, reached
from counteract.projections.rebuild import Progress, drop, rebuild
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres import connect as connect_module
from counteract.store.postgres.connect import connect
from counteract.subscriptions.parked import redrive
from tests.counters import Counted, Renamed, counter
from tests.integration.projections.rebuilds import once, totals, write
from tests.integration.projections.sink_places import soon
from tests.integration.projections.views import OFTEN, running, sums

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0


async def shown(engine: AsyncEngine, view: MaterializedView) -> dict[int, int]:
    async with engine.connect() as connection:
        found = await connection.execute(select(view.table.c.total, view.table.c.counters))
        return {row.total: row.counters for row in found}


async def test_what_was_reached_is_shown(event_store: PostgresEventStore, engine: AsyncEngine, app_url: str) -> None:
    view = sums(totals())
    async with running(app_url, totals(), view):
        for count in range(1, 6):
            await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
            assert await shown(engine, view) == {count: 5}


async def test_it_is_refreshed_at_most_once_in_a_while_and_after_the_last_event(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    every, last = timedelta(seconds=0.4), 0
    view = sums(totals(), every)
    changes = 0
    seen: dict[int, int] = {}
    async with running(app_url, totals(), view):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
        begun = monotonic()
        while monotonic() - begun < 1.5:
            last = await write(event_store, 5)
            if (now := await shown(engine, view)) != seen:
                changes, seen = changes + 1, now
        assert 2 <= changes <= 5
        await reached(event_store, "sums", last, timeout=PATIENCE)
        async with event_store.connection() as connection:
            row = await (await connection.execute("select count(*) from events")).fetchone()
        assert row is not None
        assert await shown(engine, view) == {row[0] // 5: 5}


async def test_it_waits_for_what_it_reads(event_store: PostgresEventStore, engine: AsyncEngine, app_url: str) -> None:
    projection = totals()
    view = sums(projection)
    async with running(app_url, projection, view):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
    async with running(app_url, view):
        last = await write(event_store, 5)
        with pytest.raises(ProjectionBehind):
            await reached(event_store, "sums", last, timeout=0.5)
        async with running(app_url, projection):
            await reached(event_store, "sums", last, timeout=PATIENCE)
            assert await shown(engine, view) == {2: 5}


async def test_handlers_may_come_after_it(event_store: PostgresEventStore, engine: AsyncEngine, app_url: str) -> None:
    projection = Projection("totals", Column("counter", Text, primary_key=True), Column("total", Integer, default=0))
    view = sums(projection)

    @projection.on(Renamed)
    def renamed(recorded: Recorded[Renamed]) -> Increment:
        return Increment(recorded.stream.aggregate_id, "total")

    async with running(app_url, projection, view):
        appended = await event_store.append(counter("a"), [Renamed(name="b")], expect=ANY)
        await reached(event_store, "sums", appended.position, timeout=PATIENCE)
        assert await shown(engine, view) == {1: 1}


async def test_readers_are_not_held_up(event_store: PostgresEventStore, engine: AsyncEngine, app_url: str) -> None:
    view = sums(totals())
    async with running(app_url, totals(), view):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
        async with engine.connect() as reader:
            await reader.execute(select(view.table))
            # Its transaction, and the lock that it reads with, are still open.
            await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
        assert await shown(engine, view) == {2: 5}


async def test_a_view_of_the_events_themselves_and_one_that_is_defined_anew(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    def names(pattern: str) -> MaterializedView:
        query = f"select 1 as total, count(*) as counters from events where aggregate_id like '{pattern}'"
        return MaterializedView("named", query, of=[Counted], unique=["total"], every=OFTEN)

    async def count() -> int:
        async with engine.connect() as connection:
            return int((await connection.execute(text("select counters from named"))).scalar_one())

    await event_store.append(counter("a"), [Counted()], expect=ANY)
    async with running(app_url, names("%a%")):
        last = await event_store.append(counter("ab"), [Counted()], expect=ANY)
        await reached(event_store, "named", last.position, timeout=PATIENCE)
        assert await count() == 2
    async with running(app_url, names("%b%")):
        await soon(count, 1)


async def test_one_that_cannot_be_refreshed_says_so_once_and_loses_nothing(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = totals().table
    query = select(rows.c.total, rows.c.counter)
    view = MaterializedView("each", query, of=[totals()], unique=["total"], every=OFTEN)
    async with running(app_url, totals(), view):
        await reached(event_store, "each", await write(event_store, 1), timeout=PATIENCE)
        # Two rows of one total, until one of them goes on.
        await event_store.append(counter("1"), [Counted()], expect=ANY)
        await soon(partial(warnings, caplog, "'each' cannot be refreshed"), 1)
        last = await event_store.append(counter("1"), [Counted()], expect=ANY)
        await reached(event_store, "each", last.position, timeout=PATIENCE)
    assert await warnings(caplog, "subscription 'each' waits") == 1
    async with engine.connect() as connection:
        found = await connection.execute(text("select total, counter from each order by total"))
        assert [tuple(row) for row in found] == [(1, "0"), (2, "1")]


async def test_a_rebuild_of_what_it_reads_takes_it_along(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    view = sums(totals())
    async with running(app_url, totals(), view):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
        await rebuild(app_url, totals(by=7))
        assert await shown(engine, view) == {7: 5}
    async with running(app_url, totals(by=7), view):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
        assert await shown(engine, view) == {14: 5}


async def test_a_rebuild_takes_along_what_is_computed_for_longer_than_a_statement_may_take(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = (
        "select total, count(*)::integer as counters from totals cross join (select pg_sleep(2.5)) pause group by total"
    )
    view = MaterializedView("sums", query, of=[totals()], unique=["total"])
    async with running(app_url, totals(), view):
        await reached(event_store, "sums", await write(event_store, 5, streams=1), timeout=PATIENCE)
    monkeypatch.setitem(connect_module._SETTINGS, "statement_timeout", "2s")
    await rebuild(app_url, totals(by=7))
    async with engine.connect() as connection:
        assert (await connection.execute(text("select total from sums"))).scalar_one() == 35


def doubled(view: MaterializedView) -> MaterializedView:
    """A view of a view."""
    rows = view.table
    query = select((2 * rows.c.total).label("total"), rows.c.counters)
    return MaterializedView("doubled", query, of=view.projections, unique=["total"], every=OFTEN)


async def test_a_rebuild_takes_along_views_of_views(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    view = sums(totals())
    async with running(app_url, totals(), view):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
    async with running(app_url, doubled(view)):
        await reached(event_store, "doubled", await event_store.high_water_mark(), timeout=PATIENCE)
    await rebuild(app_url, totals(by=7))
    assert await shown(engine, doubled(view)) == {14: 5}


MADE_BY_OTHERS = {
    "create view report_1 as select * from totals": "view report_1",
    "create view report_2 as select * from sums": "view report_2",
    "create materialized view report_3 as select * from totals": "materialized view report_3",
    "create table report_4 (counter text references totals)": "constraint report_4_counter_fkey on table report_4",
    "create table report_5 (line totals[])": "column line of table report_5",
    "create function report_6() returns setof totals language sql as 'select * from totals'": "function report_6()",
}


async def test_what_others_have_made_of_its_rows_is_named_before_they_are_made_anew(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    async with running(app_url, totals(), sums(totals())):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
    await do(engine, *MADE_BY_OTHERS)
    seen: list[Progress] = []
    with pytest.raises(
        ConfigurationError, match=re.escape(f"and {', '.join(sorted(MADE_BY_OTHERS.values()))} depends")
    ):
        await rebuild(app_url, totals(), progress=seen.append)
    assert not seen


async def test_what_was_made_of_its_rows_meanwhile_is_said_in_our_words(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    await write(event_store, 600)

    async def make() -> None:
        async with await connect(app_url) as connection:
            await connection.execute("create view counteract_app.report as select * from totals")

    async with running(app_url, totals()):
        await reached(event_store, "totals", await event_store.high_water_mark(), timeout=PATIENCE)
    with pytest.raises(StoreError, match="something depends on it: drop that first: cannot drop table"):
        await rebuild(app_url, totals(), batch_size=50, progress=once(make))


async def do(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("set local search_path = counteract_app, public"))
        for statement in statements:
            await connection.execute(text(statement))


async def test_what_is_part_of_the_table_stands_in_no_rebuilds_way(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    async with running(app_url, totals()):
        await reached(event_store, "totals", await write(event_store, 5), timeout=PATIENCE)
    await do(
        engine,
        "alter table totals add check (total > 0), add foreign key (counter) references totals (counter)",
        "create index on totals ((lower(counter)))",
        "create statistics of_totals on counter, total from totals",
        "create rule also as on delete to totals where old.total < 0 do also select 1 from totals",
    )
    await rebuild(app_url, totals(by=7))
    async with engine.connect() as connection:
        assert (await connection.execute(text("select distinct total from totals"))).scalar_one() == 7


async def test_a_table_that_a_view_reads_is_dropped_after_the_view(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    view = sums(totals())
    async with running(app_url, totals(), view):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
    with pytest.raises(StoreError, match=r"^materialized view sums depends on the rows of 'totals': drop that first$"):
        await drop(app_url, totals())
    await drop(app_url, view)
    await drop(app_url, totals())


async def test_what_was_parked_is_shown_once_it_is_redriven(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    view = sums(totals())
    async with running(app_url, totals(), view), await connect(app_url) as connection:
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
        await connection.execute(
            "insert into parked_events (subscription, position, aggregate_type, aggregate_id, error)"
            " values ('totals', 1, 'counter', '0', 'it fails')"
        )
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
        assert await shown(engine, view) == {1: 1, 2: 4}
        await redrive(connection, "totals")
        # The one that was put there counts once more.
        await soon(partial(shown, engine, view), {2: 4, 3: 1})


async def test_a_view_of_an_inline_projection_shows_what_was_reached(engine: AsyncEngine, app_url: str) -> None:
    inline = Projection(
        "counts", Column("counter", Text, primary_key=True), Column("events", Integer, default=0), inline=True
    )

    @inline.on(Renamed)
    def renamed(recorded: Recorded[Renamed]) -> Increment:
        return Increment(recorded.stream.aggregate_id, "events")

    rows = inline.table
    query = select(func.sum(rows.c.events).label("total"), func.count().label("counters"))
    view = MaterializedView("all_counts", query, of=[inline], unique=["total"], every=OFTEN)
    async with PostgresEventStore.open(app_url, inline=[inline]) as store, running(app_url, view):
        for count in range(1, 4):
            appended = await store.append(counter("a"), [Renamed(name="b")], expect=ANY)
            await reached(store, "all_counts", appended.position, timeout=PATIENCE)
            assert await shown(engine, view) == {count: 1}


async def warnings(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return len([each for each in caplog.records if each.levelno == logging.WARNING and words in each.getMessage()])


async def test_it_is_dropped(event_store: PostgresEventStore, engine: AsyncEngine, app_url: str) -> None:
    view = sums(totals())
    async with running(app_url, totals(), view):
        await reached(event_store, "sums", await write(event_store, 5), timeout=PATIENCE)
    await drop(app_url, view)
    async with engine.connect() as connection:
        assert (await connection.execute(text("select to_regclass('sums')"))).scalar_one() is None
        names = await connection.execute(text("select name from subscriptions"))
        assert list(names.scalars()) == ["totals"]


def test_one_that_could_not_be_refreshed_beside_readers_or_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        MaterializedView("sums", "select 1", of=[], unique=[])
    assert [each.partition(",")[0] for each in refused.value.problems] == ["it needs unique=", "it needs of="]

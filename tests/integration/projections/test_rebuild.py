"""A projection is filled anew beside the live one, and takes its place in one step."""

from __future__ import annotations

import asyncio
import logging

import psycopg
import pytest
from sqlalchemy import Column, Text, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Recorded
from counteract.errors import StoreError, StoreUnavailable
from counteract.projections import Projection, Put, reached
from counteract.projections.rebuild import Progress, rebuild
from counteract.projections.turn import RebuildRuns
from counteract.store import PostgresEventStore
from counteract.subscriptions.parked import parked_streams
from tests.counters import Renamed
from tests.integration.projections.rebuilds import PATIENCE, Stopped, once, rows, running, tens, totals, write

pytestmark = [pytest.mark.integration, pytest.mark.readside]


async def spoil(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("update totals set total = -1000"))


async def test_rows_are_made_anew_and_the_live_process_goes_on_with_them(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    projection = totals()
    async with running(app_url, projection):
        await reached(store, "totals", await write(store, 50), timeout=PATIENCE)
        await spoil(engine)
        await rebuild(app_url, totals())
        assert await rows(engine, projection) == {str(each): 10 for each in range(5)}
        await reached(store, "totals", await write(store, 5), timeout=PATIENCE)
    assert await rows(engine, projection) == {str(each): 11 for each in range(5)}


async def test_under_a_steady_load_nothing_is_lost_or_counted_twice(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    projection, stop = totals(), asyncio.Event()

    async def keep_writing() -> int:
        count = 0
        while not stop.is_set():
            await write(store, 5)
            count += 5
        return count

    async with running(app_url, projection):
        writer = asyncio.create_task(keep_writing())
        for _ in range(3):
            await rebuild(app_url, totals())
        stop.set()
        count = await writer
        await reached(store, "totals", await store.high_water_mark(), timeout=PATIENCE)
    assert sum((await rows(engine, projection)).values()) == count


async def test_readers_see_the_old_rows_until_they_see_the_new_ones(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    projection, seen = totals(), set[int]()
    async with running(app_url, projection):
        await reached(store, "totals", await write(store, 3000), timeout=PATIENCE)
        await spoil(engine)
        rebuilding = asyncio.create_task(rebuild(app_url, totals(), batch_size=200))
        while not rebuilding.done():
            seen |= set((await rows(engine, projection)).values())
        await rebuilding
    assert seen <= {-1000, 600}
    assert -1000 in seen


async def test_one_that_was_interrupted_goes_on_where_it_was(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    last = await write(store, 1500)

    def stop_midway(progress: Progress) -> None:
        if 100 <= progress.position < progress.end:
            raise Stopped

    with pytest.raises(Stopped):
        await rebuild(app_url, totals(), batch_size=2, progress=stop_midway)
    began_again: list[Progress] = []
    await rebuild(app_url, totals(), batch_size=20, progress=began_again.append)
    assert began_again[0].position >= 100
    assert sum((await rows(engine, totals())).values()) == 1500
    async with running(app_url, totals()):
        await reached(store, "totals", last, timeout=PATIENCE)


async def test_one_that_was_begun_with_other_code_begins_anew(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    await write(store, 20)

    def stop(_: Progress) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        await rebuild(app_url, totals(), progress=stop)
    other = totals(Column("more", Text))
    await rebuild(app_url, other)
    assert sum((await rows(engine, other)).values()) == 20


async def test_other_columns_take_the_place_of_the_old_ones(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    async with running(app_url, totals()):
        await reached(store, "totals", await write(store, 10), timeout=PATIENCE)
    new = totals(Column("note", Text))
    await rebuild(app_url, new)
    async with running(app_url, new):
        await reached(store, "totals", await write(store, 5), timeout=PATIENCE)
    assert sum((await rows(engine, new)).values()) == 15


async def test_a_process_with_old_columns_parks_nothing_and_spoils_nothing(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    new = tens(Column("note", Text))
    async with running(app_url, totals()):
        await reached(store, "totals", await write(store, 10), timeout=PATIENCE)
        await rebuild(app_url, new)
        last = await write(store, 5)
        await asyncio.sleep(1.0)
    async with store.connection() as connection:
        assert await parked_streams(connection) == []
    async with running(app_url, new):
        await reached(store, "totals", last, timeout=PATIENCE)
    assert await rows(engine, new) == {str(each): 30 for each in range(5)}


@pytest.mark.parametrize("is_at_rest", [True, False])
async def test_processes_with_old_handlers_leave_the_new_rows_to_a_process_with_the_new_ones(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, caplog: pytest.LogCaptureFixture, *, is_at_rest: bool
) -> None:
    async with running(app_url, totals()), running(app_url, totals()):
        await reached(store, "totals", await write(store, 10), timeout=PATIENCE)
        rebuilding = asyncio.create_task(rebuild(app_url, tens()))
        while not (is_at_rest or rebuilding.done()):
            await write(store, 1)
        await rebuilding
        await asyncio.sleep(0.0 if is_at_rest else 1.0)
        last = await write(store, 5)
        # The second one, too, has become the shard's owner meanwhile, and has given it up.
        await asyncio.sleep(2.0)
        async with running(app_url, tens()):
            await reached(store, "totals", last, timeout=PATIENCE)
            assert sum((await rows(engine, totals())).values()) == 10 * len(await store.read(limit=10_000))
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert len([each for each in errors if "rebuilt with other code than this process has" in each]) == 2


async def test_a_process_goes_on_after_another_rebuild_with_its_own_code(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    async with running(app_url, totals()):
        await reached(store, "totals", await write(store, 10), timeout=PATIENCE)
        await rebuild(app_url, tens())
        await write(store, 5)
        await asyncio.sleep(1.0)
        await rebuild(app_url, totals())
        await reached(store, "totals", await write(store, 5), timeout=PATIENCE)
    assert sum((await rows(engine, totals())).values()) == 20


async def test_a_process_whose_code_differed_at_its_start_goes_on(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    await rebuild(app_url, tens())
    async with running(app_url, totals()):
        await reached(store, "totals", await write(store, 5), timeout=PATIENCE)
        await rebuild(app_url, tens())
        await reached(store, "totals", await write(store, 5), timeout=PATIENCE)


async def test_a_change_of_its_code_is_noticed_at_the_start(
    store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(app_url, totals()):
        await reached(store, "totals", await write(store, 1), timeout=PATIENCE)
    assert "code has changed" not in caplog.text
    changed = totals()

    @changed.on(Renamed)
    def renamed(recorded: Recorded[Renamed]) -> Put:
        return Put(recorded.stream.aggregate_id, {"total": 0})

    async with running(app_url, changed):
        await reached(store, "totals", await write(store, 1), timeout=PATIENCE)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [each for each in warnings if "its code has changed since its rows were made" in each] == [
        "projection 'totals': its code has changed since its rows were made; `counteract projections rebuild totals` "
        "makes them anew, while the present ones are read"
    ]


async def test_nothing_is_left_of_a_rebuild(store: PostgresEventStore, app_url: str) -> None:
    await write(store, 3)
    await rebuild(app_url, totals())
    async with store.connection() as connection:
        names = await connection.execute("select name from subscriptions")
        assert await names.fetchall() == [("totals",)]
        tables = await connection.execute(
            "select count(*) from pg_tables where schemaname = %s", ("counteract_rebuild",)
        )
        assert await tables.fetchone() == (0,)


async def test_while_a_reader_holds_the_live_table_the_rebuild_gives_up_and_can_be_run_again(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    projection = totals()
    async with running(app_url, projection):
        await reached(store, "totals", await write(store, 3), timeout=PATIENCE)
    async with engine.connect() as reader:
        await reader.execute(select(projection.table))
        with pytest.raises(StoreError, match="a lock was not free in time"):
            await rebuild(app_url, totals(), lock_timeout=0.2)
    await rebuild(app_url, totals())
    assert sum((await rows(engine, projection)).values()) == 3


@pytest.mark.parametrize("by", [1, 2])
async def test_a_second_rebuild_is_refused_and_the_first_ends_with_its_own_rows(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, by: int
) -> None:
    await write(store, 600)

    async def again() -> None:
        with pytest.raises(
            RebuildRuns, match=r"'totals' is being rebuilt: the session \d+ .* since 20.* UTC\. Wait until"
        ):
            await rebuild(app_url, totals(by=by))

    async with asyncio.timeout(PATIENCE):
        await rebuild(app_url, totals(), batch_size=50, progress=once(again))
    assert sum((await rows(engine, totals())).values()) == 600


async def test_of_two_rebuilds_at_once_one_is_refused_and_both_end(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    await write(store, 600)
    async with asyncio.timeout(PATIENCE):
        both = await asyncio.gather(
            *(rebuild(app_url, totals(), batch_size=5) for _ in range(2)), return_exceptions=True
        )
    assert [type(each) for each in both if each] == [RebuildRuns]
    assert sum((await rows(engine, totals())).values()) == 600


async def test_a_projection_of_another_name_is_rebuilt_meanwhile(store: PostgresEventStore, app_url: str) -> None:
    await write(store, 600)
    other = Projection("others", Column("counter", Text, primary_key=True))
    other.on(Renamed)(lambda recorded: Put(recorded.stream.aggregate_id, {}))

    async def beside() -> None:
        await rebuild(app_url, other)

    await rebuild(app_url, totals(), progress=once(beside))


async def test_a_rebuild_that_loses_its_session_stops_and_nothing_of_it_is_live(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, database_url: str
) -> None:
    await write(store, 600)
    async with running(app_url, totals(by=3)):
        await reached(store, "totals", await store.high_water_mark(), timeout=PATIENCE)

    async def cut() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as owner:
            await owner.execute(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objsubid = 1"
            )

    with pytest.raises(StoreUnavailable):
        await rebuild(app_url, totals(), batch_size=5, progress=once(cut))
    assert sum((await rows(engine, totals())).values()) == 1800


async def test_rows_of_other_code_do_not_go_live(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, database_url: str
) -> None:
    await write(store, 600)
    async with running(app_url, totals(by=3)):
        await reached(store, "totals", await store.high_water_mark(), timeout=PATIENCE)

    async def remark() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as owner:
            await owner.execute("comment on table counteract_rebuild.totals is 'of other code'")

    with pytest.raises(RebuildRuns, match="Run this again if its code is the one"):
        await rebuild(app_url, totals(), batch_size=5, progress=once(remark))
    assert sum((await rows(engine, totals())).values()) == 1800

"""A rebuild that was interrupted goes on only where it would come out as if it had been begun now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest
from sqlalchemy import Column, Text, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Event, Forgotten, Personal, Recorded
from counteract.messages import StreamId
from counteract.projections import Projection, Put, reached
from counteract.projections.rebuild import Progress, drop, drop_rebuild, rebuild
from counteract.projections.shadow import RebuildVoid
from counteract.projections.turn import RebuildRuns
from counteract.store import ANY, PostgresEventStore
from counteract.store.archive.streams import Named, archive_streams, restore_streams
from counteract.subscriptions.parked import discard
from tests.counters import Counted, CounterReset, counter
from tests.integration.projections.rebuilds import (
    FEW,
    MANY,
    PATIENCE,
    count,
    interrupt,
    once,
    rows,
    running,
    tens,
    totals,
)

pytestmark = [pytest.mark.integration, pytest.mark.readside]


class Registered(Event):
    customer: str
    email: Annotated[str | Forgotten, Personal("customer")]


def customers() -> Projection:
    projection = Projection(
        "customers", Column("customer", Text, primary_key=True), Column("email", Text, nullable=False)
    )

    @projection.on(Registered)
    def registered(recorded: Recorded[Registered]) -> Put:
        return Put(recorded.event.customer, {"email": str(recorded.event.email)})

    # Only to take its time.
    projection.on(Counted)(lambda _: [])
    projection.ignores(CounterReset)
    return projection


async def emails(engine: AsyncEngine) -> dict[str, str]:
    table = customers().table
    async with engine.connect() as connection:
        return {row.customer: row.email for row in await connection.execute(select(table))}


async def register(store: PostgresEventStore, *names: str) -> None:
    for name in names:
        event = Registered(customer=name, email=f"{name}@example.com")
        await store.append(StreamId("customer", name), [event], expect=ANY)


async def where_it_goes_on(url: str, projection: Projection) -> int:
    seen: list[Progress] = []
    await rebuild(url, projection, batch_size=50, progress=seen.append)
    return seen[0].position


async def names_of(store: PostgresEventStore) -> list[str]:
    async with store.connection() as connection:
        found = await connection.execute("select distinct name from subscriptions order by name")
        return [name for (name,) in await found.fetchall()]


async def test_who_was_forgotten_since_it_began_is_not_in_its_rows(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await register(store, "ann", "bob")
    await count(store, "a", MANY)
    await register(store, "cleo")
    await interrupt(app_url, customers())
    await store.forget("ann")

    await rebuild(app_url, customers())

    assert await emails(engine) == {"ann": "(forgotten)", "bob": "bob@example.com", "cleo": "cleo@example.com"}
    assert "its rebuild was interrupted, and begins anew" in caplog.text


async def test_it_goes_on_where_somebody_was_forgotten_before_it_began(store: PostgresEventStore, app_url: str) -> None:
    await register(store, "ann", "bob")
    await store.forget("ann")
    await count(store, "a", MANY)
    await interrupt(app_url, totals())
    assert await where_it_goes_on(app_url, totals()) >= FEW


async def test_it_says_that_somebody_was_forgotten_while_it_went_on(
    store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await register(store, "ann")
    await count(store, "a", MANY)

    async def forget() -> None:
        async with PostgresEventStore.open(app_url, pool_size=1) as other:
            await other.forget("ann")

    await rebuild(app_url, totals(), progress=once(forget))
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warning == (
        "projection 'totals': somebody was forgotten while its rebuild went on, and may still show in its rows: "
        "`counteract projections rebuild totals` once more"
    )


async def archived(store: PostgresEventStore, url: str, folder: Path) -> Path:
    """A stream of FEW events, of which all but the last are in an archive, and many events behind them."""
    file = folder / "old.jsonl.gz"
    await count(store, "old", FEW)
    await count(store, "new", MANY)
    await archive_streams(url, Named([counter("old")]), file)
    return file


async def test_archived_events_that_came_back_since_it_began_are_in_its_rows(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, database_url: str, tmp_path: Path
) -> None:
    file = await archived(store, database_url, tmp_path)
    await interrupt(app_url, totals())
    await restore_streams(database_url, file)

    await rebuild(app_url, totals())

    assert await rows(engine, totals()) == {"old": FEW, "new": MANY}


async def test_it_ends_where_archived_events_come_back_while_it_goes_on(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, database_url: str, tmp_path: Path
) -> None:
    file = await archived(store, database_url, tmp_path)

    async def restore() -> None:
        await restore_streams(database_url, file)

    with pytest.raises(RebuildVoid, match="its checkpoint was removed: events came back from an archive"):
        await rebuild(app_url, totals(), batch_size=2, progress=once(restore))
    await rebuild(app_url, totals())
    assert await rows(engine, totals()) == {"old": FEW, "new": MANY}


async def test_it_goes_on_where_streams_were_archived_since_it_had_passed_them(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, database_url: str, tmp_path: Path
) -> None:
    await count(store, "old", FEW)
    await count(store, "new", MANY)
    await interrupt(app_url, totals())
    await archive_streams(database_url, Named([counter("old")]), tmp_path / "old.jsonl.gz")
    assert await where_it_goes_on(app_url, totals()) >= FEW
    assert await rows(engine, totals()) == {"old": FEW, "new": MANY}


async def test_it_begins_anew_where_somebody_has_removed_its_checkpoint(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    await count(store, "a", MANY)
    await interrupt(app_url, totals())
    async with store.connection() as connection:
        await connection.execute("delete from subscriptions where name = 'totals@rebuild'")
    await rebuild(app_url, totals())
    assert await rows(engine, totals()) == {"a": MANY}


async def test_one_of_an_earlier_release_goes_on_where_nobody_was_ever_forgotten(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    await count(store, "a", MANY)
    await interrupt(app_url, totals())
    async with engine.begin() as connection:
        remark = await connection.execute(text("select obj_description('counteract_rebuild.totals'::regclass)"))
        assert remark.scalar_one() == totals().fingerprint
    assert await where_it_goes_on(app_url, totals()) >= FEW


async def test_a_live_table_bears_the_mark_that_earlier_releases_know(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    await register(store, "ann")
    await store.forget("ann")
    await rebuild(app_url, totals())
    async with engine.begin() as connection:
        remark = await connection.execute(text("select obj_description('totals'::regclass)"))
        assert remark.scalar_one() == totals().fingerprint


@pytest.mark.parametrize("whole", [True, False])
async def test_what_is_left_of_it_is_dropped(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, whole: bool
) -> None:
    last = await count(store, "a", MANY)
    async with running(app_url, totals()):
        await reached(store, "totals", last, timeout=PATIENCE)
    await interrupt(app_url, totals())
    async with store.connection() as connection:
        await connection.execute(
            "insert into parked_events (subscription, position, aggregate_type, aggregate_id)"
            " values ('totals@rebuild', 1, 'counter', 'a')"
        )
        await discard(connection, "totals@rebuild", 1, why="a test")

    await (drop if whole else drop_rebuild)(app_url, totals())

    assert await names_of(store) == ([] if whole else ["totals"])
    async with engine.connect() as connection:
        left = "select to_regclass('counteract_rebuild.totals'), (select count(*) from parked_events)"
        assert (await connection.execute(text(left))).one() == (None, 0)


@pytest.mark.parametrize("dropping", [drop, drop_rebuild])
async def test_nothing_is_dropped_while_it_goes_on(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, dropping: Callable[..., object]
) -> None:
    await count(store, "a", MANY)

    async def refused() -> None:
        with pytest.raises(RebuildRuns, match="'totals' is being rebuilt"):
            await (drop if dropping is drop else drop_rebuild)(app_url, tens())

    await rebuild(app_url, totals(), batch_size=50, progress=once(partial(refused)))
    assert await rows(engine, totals()) == {"a": MANY}

"""`counteract store restored` names whoever has seen events that are lost, with what helps them, and nobody else."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract.projections import reached
from counteract.projections.rebuild import Progress, rebuild
from counteract.projections.shadow import RebuildVoid
from counteract.store import PostgresEventStore
from counteract.store.postgres.connect import connect
from counteract.store.postgres.restored import Kind, restored
from counteract.subscriptions import position_of
from tests.commands import counteract
from tests.integration.projections.rebuilds import Stopped, once, rows, running, totals, write
from tests.integration.projections.views import running as running_all
from tests.integration.projections.views import sums
from tests.writers import append

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0


async def execute(url: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


async def told(url: str) -> str:
    done = await counteract("store", "restored", environment={"DATABASE_URL": url})
    assert done.returncode == 0, done.stderr
    return done.stdout


async def interrupted(app_url: str) -> None:
    """A rebuild that has filled a table beside the live one."""

    def stop_midway(progress: Progress) -> None:
        if 100 <= progress.position < progress.end:
            raise Stopped

    with pytest.raises(Stopped):
        await rebuild(app_url, totals(), batch_size=2, progress=stop_midway)


async def test_a_reader_that_has_come_to_a_position_without_an_event_shows_none_that_is_lost(
    store: PostgresEventStore, app_url: str, database_url: str
) -> None:
    async with running(app_url, totals()):
        await write(store, 1)
        async with await connect(app_url) as other:
            await other.execute("begin")
            await append(other, "not to be")
            await other.execute("rollback")
        await reached(store, "totals", 2, timeout=PATIENCE)
        assert (await restored(database_url)).ahead == []


async def test_a_second_time_those_who_have_come_to_where_the_first_one_leapt_are_not_ahead(
    store: PostgresEventStore, app_url: str, database_url: str
) -> None:
    async with running(app_url, totals()):
        await write(store, 1)
        done = await restored(database_url)
        await reached(store, "totals", done.after, timeout=PATIENCE)
        assert (await restored(database_url)).ahead == []


async def test_the_command_says_what_helps_each_kind_of_reader(
    store: PostgresEventStore, app_url: str, database_url: str
) -> None:
    projection = totals()
    async with running_all(app_url, projection, sums(projection)):
        await reached(store, "sums", await write(store, 3), timeout=PATIENCE)
    await execute(
        database_url,
        "insert into subscriptions (name) values ('reaction note'), ('listener'), ('sagas'), ('in time')",
        "update subscriptions set position = 40 where name <> 'in time'",
    )
    said = await told(database_url)
    assert "totals is at 40 and shows events that are lost: `counteract projections rebuild totals`" in said
    assert "sums is at 40 and shows events that are lost until what it reads is rebuilt" in said
    assert "reaction note is at 40 and has answered events that are lost: `counteract sagas recover`" in said
    for elsewhere in ("listener", "sagas"):
        assert f"{elsewhere} is at 40 and has handled events that are lost" in said
        assert f"`counteract projections drop {elsewhere}`" in said
    assert "in time" not in said


async def test_a_rebuild_that_was_interrupted_beyond_the_log_begins_anew(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, database_url: str
) -> None:
    await write(store, 1500)
    await interrupted(app_url)
    await execute(
        database_url,
        "update counteract_rebuild.totals set total = total + 1000",
        "update subscriptions set position = 4000 where name = 'totals@rebuild'",
    )
    said = await told(database_url)
    assert "totals@rebuild is at 4000 and was not done: discarded" in said
    assert "`counteract projections rebuild totals` begins anew" in said
    await asyncio.wait_for(rebuild(app_url, totals()), PATIENCE * 3)
    assert sum((await rows(engine, totals())).values()) == 1500


async def test_a_rebuild_that_runs_beyond_the_log_ends_and_begins_anew(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, database_url: str
) -> None:
    await write(store, 1500)

    async def lose_events() -> None:
        await execute(database_url, "update subscriptions set position = 4000 where name = 'totals@rebuild'")
        (ahead,) = (await restored(database_url)).ahead
        assert ahead.kind is Kind.REBUILD

    with pytest.raises(RebuildVoid, match="or the log was cut short"):
        await rebuild(app_url, totals(), batch_size=2, progress=once(lose_events))
    await asyncio.wait_for(rebuild(app_url, totals()), PATIENCE * 3)
    assert sum((await rows(engine, totals())).values()) == 1500


async def test_a_rebuild_that_was_interrupted_before_the_end_of_the_log_goes_on_where_it_was(
    store: PostgresEventStore, app_url: str, database_url: str
) -> None:
    await write(store, 1500)
    await interrupted(app_url)
    assert (await restored(database_url)).ahead == []
    assert await position_of(store, "totals@rebuild") >= 100


async def test_the_application_may_not_say_that_it_was_restored(app_url: str) -> None:
    done = await counteract("store", "restored", environment={"DATABASE_URL": app_url})
    assert done.returncode == 1
    assert "as the owner" in done.stderr


async def test_rows_elsewhere_are_spoken_of_whoever_is_ahead(database_url: str) -> None:
    assert "Redis" in await told(database_url)

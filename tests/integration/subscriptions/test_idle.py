"""What subscriptions cost while there is nothing to do, and a checkpoint while somebody looks at an old snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import BigInteger, Column, Text, text

from counteract.messages import Recorded
from counteract.projections import Increment, Projection, ProjectionRunner
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.connect import async_engine, connect
from counteract.subscriptions import pairs
from counteract.subscriptions.membership import Membership
from counteract.subscriptions.shard_count import set_up
from tests.counters import Counted, CounterReset, counter

pytestmark = [pytest.mark.integration, pytest.mark.long]

PATIENCE = 60.0
_OURS = "application_name = 'counteract' and datname = current_database() and usename = 'counteract_app'"
_CONNECTIONS = f"select count(*) from pg_stat_activity where {_OURS}"
_COMMITS = "select xact_commit from pg_stat_database where datname = current_database()"


def total(name: str) -> Projection:
    projection = Projection(name, Column("id", Text, primary_key=True), Column("total", BigInteger, default=0))
    projection.ignores(CounterReset)

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Increment:
        return Increment(recorded.stream.aggregate_id, "total", recorded.event.amount)

    return projection


@pytest.fixture
def observer(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as observer:
        yield observer


def number(observer: psycopg.Connection, query: str) -> int:
    row = observer.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


async def commits(observer: psycopg.Connection, *, seconds: float) -> int:
    before = number(observer, _COMMITS)
    await asyncio.sleep(seconds)
    return number(observer, _COMMITS) - before


async def test_ten_projections_with_nothing_to_do_share_what_they_wait_by(
    app_url: str, observer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_UNUSED", 1.0)
    runner = ProjectionRunner(app_url, [total(f"total-{n}") for n in range(10)])
    running = asyncio.create_task(runner.run())
    async with PostgresEventStore.open(app_url) as store:
        done = await store.append(counter("a"), [Counted()], expect=ANY)
    await runner.reached(done.position, timeout=PATIENCE)
    async with asyncio.timeout(PATIENCE):
        # The server counts with a delay of up to ten seconds. The observer's own are among them.
        while await commits(observer, seconds=6) > 5 * 6:
            pass
    assert number(observer, _CONNECTIONS) <= 6
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(PATIENCE):
        # The server takes a moment to see that they are closed.
        while number(observer, _CONNECTIONS):  # noqa: ASYNC110 - it happens at the server
            await asyncio.sleep(0.05)


async def test_an_append_that_nobody_tells_of_is_seen_all_the_same(app_url: str) -> None:
    runner = ProjectionRunner(app_url, [total("total-0")])
    running = asyncio.create_task(runner.run())
    await runner.reached(0, timeout=PATIENCE)
    append = "select last_position from append_event('counter', 'a', 0, 0, gen_random_uuid(), 'Counted', 1::smallint, '{}', '{}')"
    async with await connect(app_url) as other:
        row = await (await other.execute(append)).fetchone()
    await runner.reached(row[0] if row else 0, timeout=PATIENCE)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_process_whose_connections_are_cut_goes_on_with_others(
    app_url: str, observer: psycopg.Connection
) -> None:
    runner = ProjectionRunner(app_url, [total("total-0"), total("total-1")])
    running = asyncio.create_task(runner.run())
    async with PostgresEventStore.open(app_url) as store:
        for _ in range(3):
            done = await store.append(counter("a"), [Counted()], expect=ANY)
            await runner.reached(done.position, timeout=PATIENCE)
            listening = "pid in (select pid from pg_stat_activity where query ilike 'listen%')"
            assert number(
                observer, f"select count(pg_terminate_backend(pid)) from pg_stat_activity where {_OURS} and {listening}"
            )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_move_does_not_look_for_its_row_past_the_versions_that_earlier_moves_have_left(app_url: str) -> None:
    engine = async_engine(app_url)
    looked_up = text(
        "select coalesce(idx_scan, 0) + seq_scan from pg_stat_xact_user_tables where relname = 'subscriptions'"
    )
    async with await connect(app_url) as connection, engine.connect() as writer:
        await set_up(connection, "one", 1)
        member = Membership(connection, "one", 1, 10.0)
        (lease,) = await member.take(1)
        for position, expected in enumerate((1, 0, 0), start=1):
            async with writer.begin():
                before = (await writer.execute(looked_up)).scalar_one()
                moved = await lease.move(writer, position)
                assert (await writer.execute(looked_up)).scalar_one() - before == expected
            assert moved
            lease = moved
        # Elsewhere by now: it is found by its name, and goes on from there.
        await connection.execute("update subscriptions set leased_until = leased_until where name = 'one'")
        async with writer.begin():
            assert (await lease.move(writer, 4)) is not None
    await engine.dispose()


async def test_a_move_is_refused_where_its_row_has_another_epoch_in_the_same_place(app_url: str) -> None:
    engine = async_engine(app_url)
    async with await connect(app_url) as connection, engine.connect() as writer:
        await set_up(connection, "one", 1)
        (lease,) = await Membership(connection, "one", 1, 10.0).take(1)
        async with writer.begin():
            moved = await lease.move(writer, 1)
        await connection.execute("update subscriptions set epoch = epoch + 1 where name = 'one'")
        async with writer.begin():
            assert moved
            assert await moved.move(writer, 2) is None
    await engine.dispose()

"""What PostgreSQL adds to the contract of an append: who waits for whom, and what the server itself refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from counteract.dev import EmbeddedPostgres
from counteract.errors import (
    AppendTooLarge,
    StoreError,
    StoreUnavailable,
    WrongExpectedVersion,
)
from counteract.store import ANY, NO_STREAM, STREAM_EXISTS, PostgresEventStore
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_ONE, APPEND_PLACEHOLDERS, append_arguments
from tests.counters import Counted, counter, counters
from tests.writers import skip_without_merge

pytestmark = pytest.mark.integration

A, B = counter("a"), counter("b")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(database_url) as store:
        yield store


async def test_a_refused_append_draws_no_position(store: PostgresEventStore) -> None:
    with pytest.raises(WrongExpectedVersion):
        await store.append(A, [Counted()], expect=STREAM_EXISTS)
    assert (await store.append(A, [Counted()], expect=NO_STREAM)).position == 1


async def test_more_streams_than_the_lock_table_bears_are_refused_by_the_server_too(store: PostgresEventStore) -> None:
    names = [str(number) for number in range(257)]
    no_events: list[object] = []
    arguments = (["counter"] * 257, names, [0] * 257, [0] * 257, *[no_events] * 6)
    with pytest.raises(AppendTooLarge, match="at most 256 streams, this one has 257"):
        async with store.connection() as connection:
            await connection.execute(f"select append_events({APPEND_PLACEHOLDERS})", arguments)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_waiting_writer_sees_what_the_one_before_it_committed(store: PostgresEventStore, count: int) -> None:
    """The check must look after it has waited, not before."""
    async with store.connection() as first, first.transaction():
        await first.execute(*append_call(StreamChange(A, 0, 0, [Counted()])))
        second = asyncio.create_task(store.append(A, [Counted()] * count, expect=ANY))
        await somebody_waits(store, "advisory")
    assert (await second).version == 1 + count


async def test_a_decision_that_only_read_a_stream_holds_off_its_writers(store: PostgresEventStore) -> None:
    async with store.connection() as first, first.transaction():
        await first.execute(*append_call(StreamChange(A, 0, 0), StreamChange(B, 0, 0, [Counted()])))
        # Another reader of A does not wait.
        await store.append_many([StreamChange(A, 0, 0), StreamChange(counter("c"), 0, 0, [Counted()])])
        writer = asyncio.create_task(store.append(A, [Counted()], expect=NO_STREAM))
        await somebody_waits(store, "advisory")
    assert (await writer).version == 1


async def test_plans_made_while_the_table_was_empty_stay_on_the_index(store: PostgresEventStore) -> None:
    """Sessions keep their plans. One that scans a small table would go on scanning it when it has grown."""
    async with store.connection() as connection, connection.transaction():
        await connection.execute("set local plan_cache_mode = force_generic_plan")
        await connection.execute(*append_call(StreamChange(A, 0, 0, [Counted()]), StreamChange(B, 0, 0)))
        await connection.execute(*append_call(StreamChange(A, 1, 1, [Counted(), Counted()])))
        await connection.execute(*append_call(StreamChange(A, 3, 3, [Counted()])))
        scans = await connection.execute("select seq_scan from pg_stat_xact_user_tables where relname = 'events'")
        assert await scans.fetchone() == (0,)


@pytest.mark.parametrize("count", [1, 2])
async def test_an_old_snapshot_is_refused(store: PostgresEventStore, count: int) -> None:
    async def append() -> None:
        async with store.connection() as connection, connection.transaction():
            await connection.execute("set transaction isolation level repeatable read")
            await connection.execute(*append_call(StreamChange(A, 0, 0, [Counted()] * count)))

    with pytest.raises(StoreError, match="needs READ COMMITTED, not REPEATABLE READ"):
        await append()


@pytest.mark.parametrize(
    "statement",
    [
        "update events set version = 2",
        "update events set version = 2 where false",
        "delete from events",
        "truncate events",
        "merge into events e using events o on e.position = o.position when matched then delete",
    ],
)
async def test_stored_events_cannot_be_changed(
    postgres: EmbeddedPostgres, store: PostgresEventStore, statement: str
) -> None:
    skip_without_merge(postgres, statement)
    await store.append(A, [Counted()], expect=ANY)
    with pytest.raises(StoreError, match="events are append-only"):
        async with store.connection() as connection:
            await connection.execute(statement)
    assert (await store.load(counters, "a")).version == 1


async def test_a_deadlock_of_ones_own_making_asks_for_a_retry(store: PostgresEventStore) -> None:
    async def both(first: str, second: str, met: asyncio.Barrier) -> None:
        async with store.connection() as connection, connection.transaction():
            await connection.execute(*append_call(StreamChange(counter(first), 0, 9, [Counted()])))
            await met.wait()
            await connection.execute(*append_call(StreamChange(counter(second), 0, 9, [Counted()])))

    met = asyncio.Barrier(2)
    outcomes = await asyncio.gather(both("x", "y", met), both("y", "x", met), return_exceptions=True)
    assert [type(each) for each in outcomes if each] == [StoreUnavailable]


def append_call(*changes: StreamChange) -> tuple[str, tuple[str, ...]]:
    arguments = append_arguments(changes, {})
    if one := arguments.of_one_event:
        return f"select {APPEND_ONE}", one
    return f"select append_events({APPEND_PLACEHOLDERS})", arguments.literals


async def somebody_waits(store: PostgresEventStore, kind: str) -> None:
    """Returns once a session waits for a lock of this kind."""
    query = "select from pg_locks where locktype = %s and not granted"
    async with asyncio.timeout(10), store.connection() as connection:
        while (await connection.execute(query, (kind,))).rowcount == 0:  # noqa: ASYNC110 - it happens in the database
            await asyncio.sleep(0.005)


def test_psycopg_reports_the_states_that_the_functions_raise() -> None:
    """The translation goes by SQLSTATE: class CA must not be one of the driver's own."""
    with pytest.raises(KeyError):
        psycopg.errors.lookup("CA001")

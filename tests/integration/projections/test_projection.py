"""Projections on a real PostgreSQL: rows and checkpoint move together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import BigInteger, Column, Index, Text, Uuid, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Event, Recorded
from counteract.errors import ConfigurationError, ProjectionBehind
from counteract.messages import StreamId
from counteract.projections import Delete, Increment, Operation, Patch, Projection, ProjectionRunner, Put, reached
from counteract.projections.table_writer import TableWriter
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.connect import async_engine
from tests.coalescing import coalesce

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0


class Opened(Event):
    owner: str


class Deposited(Event):
    amount: int


class Closed(Event):
    pass


class Noted(Event):
    """Of no interest to the projection."""


def balances(name: str = "balances") -> Projection:
    projection = Projection(
        name,
        Column("account", Text, primary_key=True),
        Column("owner", Text),
        Column("balance", BigInteger, nullable=False, default=0),
        Column("deposits", BigInteger, nullable=False, default=0),
        Index(f"{name}_owner_idx", "owner"),
    )

    @projection.on(Opened)
    def opened(recorded: Recorded[Opened]) -> Put:
        return Put(recorded.stream.aggregate_id, {"owner": recorded.event.owner})

    @projection.on(Deposited)
    def deposited(recorded: Recorded[Deposited]) -> Sequence[Operation]:
        account = recorded.stream.aggregate_id
        return [Increment(account, "balance", recorded.event.amount), Increment(account, "deposits")]

    @projection.on(Closed)
    def closed(recorded: Recorded[Closed]) -> Delete:
        return Delete(recorded.stream.aggregate_id)

    return projection


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(database_url) as store:
        yield store


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = async_engine(database_url)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def running(*runners: ProjectionRunner) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(runner.run()) for runner in runners]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def account(name: str) -> StreamId:
    return StreamId("account", name)


async def rows(engine: AsyncEngine, projection: Projection) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        found = await connection.execute(select(projection.table).order_by(*projection.table.primary_key.columns))
        return [tuple(row) for row in found]


async def test_rows_are_a_function_of_the_events(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    projection = balances()
    runner = ProjectionRunner(database_url, [projection])
    async with running(runner):
        await store.append(account("a"), [Opened(owner="ann"), Deposited(amount=5)], expect=ANY)
        await store.append(account("b"), [Opened(owner="bob"), Noted(), Closed()], expect=ANY)
        last = await store.append(account("a"), [Deposited(amount=7)], expect=ANY)
        await runner.reached(last.position, timeout=PATIENCE)
    assert await rows(engine, projection) == [("a", "ann", 12, 2)]


async def test_a_process_reads_its_own_writes_with_nothing_but_the_database(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    projection = balances()
    async with running(ProjectionRunner(database_url, [projection])):
        for number in range(1, 11):
            appended = await store.append(account("a"), [Deposited(amount=1)], expect=ANY)
            await reached(store, "balances", appended.position, timeout=PATIENCE)
            assert await rows(engine, projection) == [("a", None, number, number)]


async def test_a_runner_that_is_behind_says_which_projection(database_url: str) -> None:
    with pytest.raises(ProjectionBehind, match="'balances' is at position 0, not yet at 3"):
        await ProjectionRunner(database_url, [balances()]).reached(3, timeout=0.01)


async def test_runners_in_several_processes_count_each_event_once(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    projection = balances()
    runners = [ProjectionRunner(database_url, [balances()], batch_size=4) for _ in range(3)]
    async with running(*runners):
        await asyncio.gather(
            *(store.append(account(str(number % 5)), [Deposited(amount=1)], expect=ANY) for number in range(100))
        )
        await runners[0].reached(await store.high_water_mark(), timeout=PATIENCE)
    assert await rows(engine, projection) == [(str(number), None, 20, 20) for number in range(5)]


async def test_a_table_that_was_dropped_is_built_anew(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    projection = balances()
    for total in (5, 10):
        appended = await store.append(account("a"), [Deposited(amount=5)], expect=ANY)
        async with running(runner := ProjectionRunner(database_url, [projection])):
            await runner.reached(appended.position, timeout=PATIENCE)
        assert await rows(engine, projection) == [("a", None, total, total // 5)]
        async with engine.begin() as connection:
            await connection.execute(text("drop table balances"))


async def test_a_table_of_other_columns_is_refused(engine: AsyncEngine, database_url: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("create table balances (account text primary key)"))
    with pytest.raises(ConfigurationError, match="other columns than are declared"):
        await asyncio.wait_for(ProjectionRunner(database_url, [balances()]).run(), PATIENCE)


async def test_two_projections_of_one_name_are_refused(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="'balances' is there twice"):
        ProjectionRunner(database_url, [balances(), balances()])


async def test_projections_do_not_wait_for_each_other(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    broken, sound = balances("broken"), balances("sound")
    tried = asyncio.Event()

    @broken.on(Noted)
    def noted(recorded: Recorded[Noted]) -> Put:
        tried.set()
        raise RuntimeError("not today")

    async with running(ProjectionRunner(database_url, [broken, sound])):
        appended = await store.append(account("a"), [Noted(), Deposited(amount=1)], expect=ANY)
        await reached(store, "sound", appended.position, timeout=PATIENCE)
        await asyncio.wait_for(tried.wait(), PATIENCE)
    assert await rows(engine, sound) == [("a", None, 1, 1)]
    assert await rows(engine, broken) == []


async def test_the_statements_of_any_batches_come_to_what_the_operations_say(engine: AsyncEngine) -> None:
    projection = Projection(
        "many",
        Column("left", Text, primary_key=True),
        Column("right", BigInteger, primary_key=True),
        Column("name", Text),
        Column("count", BigInteger, nullable=False, default=3),
        Column("sum", BigInteger),
    )
    writer = TableWriter(projection.table)
    chance = random.Random(11)
    expected: dict[Any, dict[str, Any]] = {}
    async with engine.begin() as connection:
        await connection.run_sync(projection.table.create)
    for _ in range(60):
        operations = [any_operation(chance) for _ in range(chance.randint(1, 30))]
        for operation in operations:
            apply(expected, operation)
        async with engine.begin() as connection:
            await writer.write(connection, coalesce(operations, writer.blank))
        assert await rows(engine, projection) == [(*key, *expected[key].values()) for key in sorted(expected)]


def any_operation(chance: random.Random) -> Operation:
    key = (chance.choice("abc"), chance.randint(1, 3))
    row = {"name": chance.choice("xyz"), "count": chance.randint(0, 9), "sum": chance.choice([None, 1, 2])}
    some = dict(chance.sample(sorted(row.items()), chance.randint(1, 3)))
    operations: list[Operation] = [
        Put(key, some),
        Patch(key, some),
        Delete(key),
        Increment(key, "count", chance.randint(-3, 3)),
        Increment(key, "sum"),
    ]
    return chance.choice(operations)


def apply(table: dict[Any, dict[str, Any]], operation: Operation) -> None:
    blank = {"name": None, "count": 3, "sum": None}
    match operation:
        case Put(key, row):
            table[key] = {**blank, **row}
        case Patch(key, fields) if key in table:
            table[key] |= fields
        case Delete(key):
            table.pop(key, None)
        case Increment(key, name, by):
            row = table.setdefault(key, dict(blank))
            row[name] = (row[name] or 0) + by


@pytest.mark.parametrize("ends", [True, False])
async def test_a_row_that_handlers_spell_in_several_ways_is_one_row_within_a_batch(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str, ends: bool
) -> None:
    projection = Projection(
        "spelled", Column("account", Uuid, primary_key=True), Column("balance", BigInteger, nullable=False, default=0)
    )
    projection.on(Opened)(lambda recorded: Put((UUID(recorded.stream.aggregate_id),), {"balance": 1}))
    projection.on(Deposited)(
        lambda recorded: Increment(recorded.stream.aggregate_id.upper(), "balance", recorded.event.amount)
    )
    projection.on(Closed)(lambda recorded: Delete(recorded.stream.aggregate_id))
    each = uuid4()
    events = [Deposited(amount=5), Opened(owner="ann"), *([Closed()] if ends else [])]
    appended = await store.append(account(str(each)), events, expect=ANY)
    async with running(ProjectionRunner(database_url, [projection])):
        await reached(store, "spelled", appended.position, timeout=PATIENCE)
    assert await rows(engine, projection) == ([] if ends else [(each, 1)])


async def test_a_projection_of_keys_alone_keeps_a_set(engine: AsyncEngine) -> None:
    projection = Projection("members", Column("name", Text, primary_key=True))
    writer = TableWriter(projection.table)
    async with engine.begin() as connection:
        await connection.run_sync(projection.table.create)
        for _ in range(2):
            await writer.write(connection, coalesce([Put("a", {}), Put("b", {}), Patch("c", {})], writer.blank))
        await writer.write(connection, coalesce([Delete("b")], writer.blank))
    assert await rows(engine, projection) == [("a",)]


async def test_a_row_that_the_table_refuses_leaves_rows_and_checkpoint_alone(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    projection = Projection("strict", Column("account", Text, primary_key=True), Column("owner", Text, nullable=False))

    @projection.on(Opened)
    def opened(recorded: Recorded[Opened]) -> Put:
        return Put(recorded.stream.aggregate_id, {"owner": recorded.event.owner})

    @projection.on(Closed)
    def closed(recorded: Recorded[Closed]) -> Patch:
        return Patch(recorded.stream.aggregate_id, {"owner": None})

    async with running(runner := ProjectionRunner(database_url, [projection])):
        first = await store.append(account("a"), [Opened(owner="ann")], expect=ANY)
        await runner.reached(first.position, timeout=PATIENCE)
        second = await store.append(account("a"), [Closed()], expect=ANY)
        with pytest.raises(ProjectionBehind):
            await runner.reached(second.position, timeout=0.5)
    assert await rows(engine, projection) == [("a", "ann")]

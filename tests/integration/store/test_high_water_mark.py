"""The high water mark on a real PostgreSQL, with writers that dawdle, roll back, prepare and die."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from counteract.dev.fixtures import fresh_database
from counteract.dev.postgres import EmbeddedPostgres
from counteract.store.postgres.connect import Connection, connect
from counteract.store.postgres.high_water_mark import HighWaterMark
from tests.writers import Connect, append

pytestmark = pytest.mark.integration


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Connect]:
    """Opens connections, and closes them in the end."""
    opened: list[Connection] = []

    async def open_one() -> Connection:
        opened.append(await connect(database_url))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


@pytest.fixture
async def mark(session: Connect) -> HighWaterMark:
    return HighWaterMark(await session())


async def test_a_store_that_never_had_an_event_is_at_zero(mark: HighWaterMark) -> None:
    assert await mark.advance() == 0
    assert mark.is_settled


async def test_it_is_at_the_last_position_where_nobody_writes(session: Connect, mark: HighWaterMark) -> None:
    await append(await session(), "a", events=3)
    assert await mark.advance() == 3


async def test_it_waits_for_an_open_append_and_then_passes_it(session: Connect, mark: HighWaterMark) -> None:
    slow, fast = await session(), await session()
    async with slow.transaction():
        await append(slow, "slow")
        await append(fast, "fast")
        assert [await mark.advance(), await mark.advance()] == [0, 0]
        assert not mark.is_settled
    assert await mark.advance() == 2


async def test_it_does_not_wait_for_those_that_came_later(session: Connect, mark: HighWaterMark) -> None:
    first, second = await session(), await session()
    async with second.transaction():
        async with first.transaction():
            await append(first, "first")
            assert await mark.advance() == 0
            await append(second, "second")
        assert await mark.advance() == 1
    assert await mark.advance() == 2


async def test_it_does_not_wait_for_transactions_that_append_nothing(session: Connect, mark: HighWaterMark) -> None:
    writer, other = await session(), await session()
    async with other.transaction():
        await other.execute("insert into subscriptions (name) values ('x')")
        await other.execute("select count(*) from events")
        await append(writer, "a")
        assert await mark.advance() == 1


async def test_it_does_not_wait_for_another_database(
    postgres: EmbeddedPostgres, session: Connect, mark: HighWaterMark
) -> None:
    async with fresh_database(postgres) as elsewhere, await connect(elsewhere) as other, other.transaction():
        await append(other, "a")
        await append(await session(), "a")
        assert await mark.advance() == 1


async def test_positions_that_were_rolled_back_are_passed_over(session: Connect, mark: HighWaterMark) -> None:
    writer = await session()
    async with writer.transaction(force_rollback=True):
        await append(writer, "a", events=5)
        assert await mark.advance() == 0
    assert await mark.advance() == 5


async def test_a_savepoint_that_was_rolled_back_owes_nothing(session: Connect, mark: HighWaterMark) -> None:
    writer = await session()
    async with writer.transaction():
        async with writer.transaction(force_rollback=True):
            await append(writer, "a")
        assert await mark.advance() == 1


async def test_a_backend_that_was_killed_is_not_waited_for(session: Connect, mark: HighWaterMark) -> None:
    victim, killer = await session(), await session()
    await victim.execute("begin")
    await append(victim, "a")
    assert await mark.advance() == 0
    await killer.execute("select pg_terminate_backend(%s, 5000)", (victim.info.backend_pid,))
    assert await mark.advance() == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_prepared_transaction_is_waited_for_until_it_ends(
    session: Connect, mark: HighWaterMark, end: str
) -> None:
    """PREPARE takes the lock away from the session that was seen with it, and the events are still not there."""
    writer = await session()
    await writer.execute("begin")
    await append(writer, "a")
    assert await mark.advance() == 0
    await writer.execute("prepare transaction 'p'")
    assert [await mark.advance(), await mark.advance()] == [0, 0]
    await writer.execute(f"{end} prepared 'p'")
    assert await mark.advance() == 1


async def test_a_prepared_transaction_outlives_the_server(
    postgres: EmbeddedPostgres, session: Connect, mark: HighWaterMark
) -> None:
    writer = await session()
    await writer.execute("begin")
    await append(writer, "a")
    assert await mark.advance() == 0
    await writer.execute("prepare transaction 'p'")
    await postgres.restart()
    with pytest.raises(psycopg.OperationalError):
        await mark.advance()
    again = HighWaterMark(await session())
    assert await again.advance() == 0
    await (await session()).execute("commit prepared 'p'")
    assert await again.advance() >= 1

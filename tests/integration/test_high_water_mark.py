"""The high water mark on a real PostgreSQL, with writers that dawdle, roll back, prepare and die."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psycopg
import pytest

from counteract.dev.fixtures import fresh_database
from counteract.dev.postgres import EmbeddedPostgres
from counteract.store.connecting import Connection, connect
from counteract.store.high_water_mark import HighWaterMark
from counteract.store.reading import read_events
from counteract.store.wire import APPEND_PLACEHOLDERS, StreamChange, append_arguments
from tests.counters import Counted, counter

pytestmark = pytest.mark.integration

_APPEND = f"select append_events({APPEND_PLACEHOLDERS})"

Connect = Callable[[], Awaitable[Connection]]


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


async def append(connection: Connection, stream: str = "a", events: int = 1) -> None:
    change = StreamChange(counter(stream), 0, 2**31 - 1, [Counted()] * events)
    await connection.execute(_APPEND, append_arguments([change], {}))


async def test_a_store_that_never_had_an_event_is_at_zero(mark: HighWaterMark) -> None:
    assert await mark.advance() == 0
    assert mark.is_settled


async def test_it_is_at_the_last_position_where_nobody_writes(session: Connect, mark: HighWaterMark) -> None:
    await append(await session(), events=3)
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
        await append(writer)
        assert await mark.advance() == 1


async def test_it_does_not_wait_for_another_database(
    postgres: EmbeddedPostgres, session: Connect, mark: HighWaterMark
) -> None:
    async with fresh_database(postgres) as elsewhere, await connect(elsewhere) as other, other.transaction():
        await append(other)
        await append(await session())
        assert await mark.advance() == 1


async def test_positions_that_were_rolled_back_are_passed_over(session: Connect, mark: HighWaterMark) -> None:
    writer = await session()
    async with writer.transaction(force_rollback=True):
        await append(writer, events=5)
        assert await mark.advance() == 0
    assert await mark.advance() == 5


async def test_a_savepoint_that_was_rolled_back_owes_nothing(session: Connect, mark: HighWaterMark) -> None:
    writer = await session()
    async with writer.transaction():
        async with writer.transaction(force_rollback=True):
            await append(writer)
        assert await mark.advance() == 1


async def test_a_backend_that_was_killed_is_not_waited_for(session: Connect, mark: HighWaterMark) -> None:
    victim, killer = await session(), await session()
    await victim.execute("begin")
    await append(victim)
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
    await append(writer)
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
    await append(writer)
    assert await mark.advance() == 0
    await writer.execute("prepare transaction 'p'")
    await postgres.restart()
    with pytest.raises(psycopg.OperationalError):
        await mark.advance()
    again = HighWaterMark(await session())
    assert await again.advance() == 0
    await (await session()).execute("commit prepared 'p'")
    assert await again.advance() >= 1


async def test_nothing_is_missed_and_nothing_seen_twice(session: Connect) -> None:
    """The same events for both readers. The one that goes by the highest position it saw loses some of them."""
    reader, naive, check = await session(), await session(), await session()
    mark = HighWaterMark(reader)
    seen: list[int] = []
    seen_naively: list[int] = []
    async with writing(session, writers=20, rounds=80) as done:
        while not done():
            await follow(reader, await mark.advance(), seen)
            await follow(naive, 2**62, seen_naively)
    await follow(reader, await mark.settled(timeout=5), seen)
    await follow(naive, 2**62, seen_naively)

    rows = await check.execute("select position from events order by position")
    stored = [position for (position,) in await rows.fetchall()]
    assert len(stored) > 200
    assert seen == stored
    assert set(seen_naively) < set(stored), "the writers were too tame to show anything"


async def follow(connection: Connection, up_to: int, seen: list[int]) -> None:
    after = seen[-1] if seen else 0
    seen += [each.position for each in await read_events(connection, after=after, up_to=up_to, limit=10_000)]


@asynccontextmanager
async def writing(session: Connect, *, writers: int, rounds: int) -> AsyncIterator[Callable[[], bool]]:
    """Writers at work; the function says whether they have finished."""
    killer, may_prepare = await session(), asyncio.Semaphore(8)
    each_at_work = [
        Writer(await session(), session, killer, may_prepare, random.Random(number)) for number in range(writers)
    ]
    tasks = [asyncio.create_task(writer.write(rounds)) for writer in each_at_work]
    yield lambda: all(task.done() for task in tasks)
    await asyncio.gather(*tasks)


@dataclass
class Writer:
    """Appends, and ends its transactions in every way that there is."""

    connection: Connection
    session: Connect
    killer: Connection
    may_prepare: asyncio.Semaphore
    chance: random.Random

    async def write(self, rounds: int) -> None:
        for number in range(rounds):
            await self.connection.execute("begin")
            await append(self.connection, str(self.connection.info.backend_pid), self.chance.randint(1, 3))
            await self._dawdle()
            match self.chance.choices(["commit", "rollback", "prepare", "die"], [10, 3, 3, 1])[0]:
                case "prepare":
                    await self._prepare(f"{self.connection.info.backend_pid}-{number}")
                case "die":
                    await self._die()
                case statement:
                    await self.connection.execute(statement)

    async def _prepare(self, name: str) -> None:
        end = self.chance.choice(["commit", "rollback"])
        async with self.may_prepare:
            await self.connection.execute(f"prepare transaction '{name}'")
            await self._dawdle()
            await self.connection.execute(f"{end} prepared '{name}'")

    async def _die(self) -> None:
        await self.killer.execute("select pg_terminate_backend(%s)", (self.connection.info.backend_pid,))
        with suppress(psycopg.OperationalError):
            await self.connection.execute("commit")
        self.connection = await self.session()

    async def _dawdle(self) -> None:
        await asyncio.sleep(self.chance.random() * 0.02)

"""Callers that are cancelled at any moment: the pool stays whole, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import BigInteger, Column, Text, select
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Retriable
from counteract.errors import WrongExpectedVersion
from counteract.messages import Dispatch, Role
from counteract.participants.answers import Answer
from counteract.participants.fence import Fence
from counteract.participants.request import Request
from counteract.participants.streams import Streams
from counteract.projections import Increment, Projection, ProjectionRunner
from counteract.store import ANY, ExactVersion, PostgresEventStore, decide
from counteract.store.expect import StreamChange
from counteract.store.postgres.errands import Errands
from counteract.subscriptions.pairs import Limits, Pairs
from tests.counters import Counted, CounterReset, counter, counters

pytestmark = pytest.mark.integration

ROUNDS, AT_ONCE, POOL = 60, 10, 3
PATIENCE = 60.0
SEEDS = [1, 2, 3]

Act = Callable[[], Awaitable[Any]]


class Stroke(Retriable[int], service="q"):
    """A command to be recorded."""


def totals(name: str, *, inline: bool) -> Projection:
    projection = Projection(
        name,
        Column("counter", Text, primary_key=True),
        Column("total", BigInteger, nullable=False, default=0),
        inline=inline,
    )

    projection.ignores(CounterReset)

    @projection.on(Counted)
    def counted(recorded: Any) -> Increment:
        return Increment(recorded.stream.aggregate_id, "total", recorded.event.amount)

    return projection


def acts(store: PostgresEventStore, chance: Random) -> list[Act]:
    """What callers do, each on one of a few streams."""
    name = str(chance.randrange(5))
    change = StreamChange(counter(name), 0, 2**31 - 1, [Counted()])

    async def command() -> None:
        sent = Dispatch(command_id=uuid4(), saga_id="s", saga_type="T", step="x", correlation_id="s", causation_id="r")
        await Streams(store, sent.command_id, ask=True).load(counters, name)
        request = Request("Stroke", Stroke(), sent, Role.FORWARD, external=False)
        await Fence(store).record(request, Answer("done", "1", [change]))

    return [
        lambda: store.append(counter(name), [Counted()], expect=ANY),
        lambda: store.append_many([change, StreamChange(counter("other"), 0, 2**31 - 1, [Counted()])]),
        lambda: store.append(counter(name), [Counted()], expect=ExactVersion(10**6)),
        lambda: store.load(counters, name),
        lambda: store.read(limit=10),
        lambda: decide(store, counters, name, lambda _: [Counted()]),
        command,
    ]


async def cancelling(store: PostgresEventStore, chance: Random) -> tuple[int, list[BaseException]]:
    """How many callers were cancelled, and what went wrong for those that were not."""
    troubles: list[BaseException] = []
    cancelled = 0
    for _ in range(ROUNDS):
        tasks = [asyncio.ensure_future(chance.choice(acts(store, chance))()) for _ in range(AT_ONCE)]
        hit = {task for task in tasks if chance.random() < 0.7}
        for task in hit:
            asyncio.get_running_loop().call_later(chance.expovariate(1 / 0.004), task.cancel)
        done, stuck = await asyncio.wait(tasks, timeout=PATIENCE)
        assert not stuck, "a caller waits for ever"
        cancelled += sum(task.cancelled() for task in done)
        for task in done:
            if not task.cancelled() and (error := task.exception()) and not isinstance(error, WrongExpectedVersion):
                troubles.append(error)
    return cancelled, troubles


def lost(store: PostgresEventStore) -> int:
    stats = store._pool.get_stats()
    return stats["pool_size"] - stats.get("pool_available", 0)


async def is_whole(store: PostgresEventStore) -> None:
    """All connections that the pool counts are there to be had."""
    deadline = monotonic() + PATIENCE
    while lost(store):
        assert monotonic() < deadline, "connections are lost"
        await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(store.append(counter("after"), [Counted()], expect=ANY) for _ in range(20)))


async def no_stream_has_holes(store: PostgresEventStore) -> None:
    versions: dict[str, list[int]] = {}
    for event in await store.read(limit=10**6):
        versions.setdefault(event.aggregate_id, []).append(event.version)
    assert all(each == list(range(1, len(each) + 1)) for each in versions.values())


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_pool_is_whole_after_callers_were_cancelled_at_any_await(app_url: str, seed: int) -> None:
    async with PostgresEventStore.open(app_url, pool_size=POOL, pool_timeout=PATIENCE) as store:
        cancelled, troubles = await cancelling(store, Random(seed))
        assert cancelled > ROUNDS
        assert troubles == []
        await is_whole(store)
        await no_stream_has_holes(store)


@pytest.mark.parametrize("seed", SEEDS)
async def test_callers_beside_those_that_are_cancelled_do_not_notice_with_an_inline_projection_either(
    app_url: str, engine: AsyncEngine, seed: int
) -> None:
    projection = totals("totals", inline=True)
    async with PostgresEventStore.open(app_url, pool_size=POOL, pool_timeout=PATIENCE, inline=[projection]) as store:
        cancelled, troubles = await cancelling(store, Random(seed))
        assert cancelled > ROUNDS
        assert troubles == []
        await is_whole(store)
        async with engine.connect() as connection:
            rows = (await connection.execute(select(projection.table.c.total))).scalars()
        assert sum(rows) == len(await store.read(limit=10**6))


async def test_a_subscription_that_is_cancelled_again_and_again_applies_each_event_once(
    app_url: str, engine: AsyncEngine
) -> None:
    projection, chance = totals("totals", inline=False), Random(4)
    async with PostgresEventStore.open(app_url) as store:
        for number in range(30):
            await store.append(counter(str(number % 5)), [Counted()], expect=ANY)
            running = asyncio.create_task(ProjectionRunner(app_url, [projection], batch_size=3).run())
            await asyncio.sleep(chance.expovariate(1 / 0.05))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        runner = ProjectionRunner(app_url, [projection])
        running = asyncio.create_task(runner.run())
        await runner.reached(await store.high_water_mark(), timeout=PATIENCE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with engine.connect() as connection:
        assert sum((await connection.execute(select(projection.table.c.total))).scalars()) == 30


async def test_a_connection_that_was_left_between_two_statements_is_not_given_to_the_next(app_url: str) -> None:
    async with PostgresEventStore.open(app_url, pool_size=1, pool_timeout=PATIENCE) as store:

        async def leave() -> None:
            async with store.connection() as connection:
                await connection.pipeline().__aenter__()
                await connection.execute("select 1")
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await leave()
        assert (await store.append(counter("a"), [Counted()], expect=ANY)).version == 1


async def test_a_pair_whose_reader_was_left_between_two_statements_is_nobodys_next(app_url: str) -> None:
    """As by a read ahead that was given up, once in some hundred times: all that follows would be part of its pipeline."""
    pairs, limits = Pairs(app_url, "this test"), Limits(idle=PATIENCE, whole=PATIENCE)
    async with pairs.one(limits) as left:
        await left.reader.pipeline().__aenter__()
        await left.reader.execute("select 1")
    async with pairs.one(limits) as following:
        assert left.reader.closed
        answer = await asyncio.wait_for(following.reader.execute("select 42"), PATIENCE)
        assert await answer.fetchone() == (42,)
    async with pairs.one(limits) as again:
        assert again is following
    await pairs.close()


async def test_an_errand_goes_to_its_end_though_nobody_waits_for_it_any_more() -> None:
    errands, gate, ended = Errands(), asyncio.Event(), asyncio.Event()

    async def errand() -> None:
        await gate.wait()
        await asyncio.sleep(0)
        ended.set()

    for wait in (errands.run, errands.run_if_it_waits):
        gate.clear()
        ended.clear()
        waiting = asyncio.create_task(wait(errand()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        gate.set()
        await errands.all_done()
        assert ended.is_set()

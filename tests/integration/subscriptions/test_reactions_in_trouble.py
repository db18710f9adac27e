"""Reactions that fail, processes that die, and two of them at once: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import WorkflowExecutionDescription

from counteract.dev import EmbeddedTemporal
from counteract.dev.process import GuardedProcess, Launch
from counteract.reactions import Reaction, ReactionRunner, Send, StartSaga, reacts_to
from counteract.store import ANY, StoredEvent
from counteract.subscriptions import Subscriber, Subscription, position_of
from counteract.subscriptions.parked import parked_events, redrive
from tests.counters import Counted, counter
from tests.integration.subscriptions.reaction_process import holding
from tests.travel.bank import Account, HoldMoney
from tests.travel.bank_sagas import Errand, OutingRequest
from tests.travel.world import World

pytestmark = [pytest.mark.integration, pytest.mark.readside]

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def running(url: str, world: World, reaction: Reaction) -> AsyncIterator[None]:
    task = asyncio.create_task(ReactionRunner(url, world.client, [reaction]).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - what is waited for happens in a database
            await asyncio.sleep(0.02)


async def count(world: World, *amounts: int, stream: str = "one") -> list[UUID]:
    await world.store.append(counter(stream), [Counted(amount=amount) for amount in amounts], expect=ANY)
    return [each.event_id for each in await world.store.read_stream(counter(stream))]


async def caught_up(world: World, reaction: Reaction) -> None:
    last = await world.store.high_water_mark()

    async def holds() -> bool:
        return await position_of(world.store, f"reaction {reaction.name}") >= last

    await until(holds)


async def parked(world: World, reaction: Reaction, stream: str = "one") -> Sequence[str | None]:
    async with world.store.connection() as connection:
        events = await parked_events(connection, f"reaction {reaction.name}", counter(stream))
    return [each.error for each in events]


async def redriven(world: World, reaction: Reaction) -> None:
    async with world.store.connection() as connection:
        await redrive(connection, f"reaction {reaction.name}")

    async def holds() -> bool:
        return not await parked(world, reaction)

    await until(holds)


async def described(world: World, workflow_id: str) -> WorkflowExecutionDescription:
    return await world.client.get_workflow_handle(workflow_id).describe()


async def test_an_event_without_an_answer_is_parked_with_what_comes_after_it_in_its_stream(
    world: World, app_url: str
) -> None:
    asked: list[int] = []
    corrected = False

    @reacts_to(Counted, name=f"fussy-{uuid4().hex[:8]}", from_="start")
    def fussy(counted: Counted) -> None:
        if counted.amount == 2 and not corrected:
            raise ValueError("nobody knows what to do")
        asked.append(counted.amount)

    await count(world, 1, 2, 3)
    await count(world, 9, stream="another")
    async with running(app_url, world, fussy):
        await caught_up(world, fussy)
        first, *behind = await parked(world, fussy)
        assert str(first).startswith("ValueError: raised in test_reactions_in_trouble.py, line ")
        assert behind == [None]
        assert set(asked) == {1, 9}

        asked.clear()
        corrected = True
        await redriven(world, fussy)

    assert asked == [2, 3]


async def test_what_an_event_has_started_stays_when_another_of_its_actions_fails(
    world: World, app_url: str, trip: str
) -> None:
    workflow_id = "x" * 2000

    @reacts_to(Counted, name=trip, from_="start")
    def both(counted: Counted) -> list[Send | StartSaga]:
        errand = OutingRequest(account="ann", trip=trip, amount=counted.amount)
        return [
            Send(HoldMoney(account="ann", trip="sent", amount=counted.amount), task_queue=world.queue),
            StartSaga(Errand.run, errand, task_queue=world.queue, id=workflow_id),
        ]

    (event_id,) = await count(world, 5)
    async with running(app_url, world, both):
        await caught_up(world, both)
        assert len(await parked(world, both)) == 1
        await world.client.get_workflow_handle(f"{trip} {event_id} 0").result()
        first = await described(world, f"{trip} {event_id} 0")

        workflow_id = trip
        await redriven(world, both)
        await world.client.get_workflow_handle(trip).result()

    assert (await described(world, f"{trip} {event_id} 0")).run_id == first.run_id
    assert await world.account() == Account(90, {"sent": 5, trip: 5})


async def test_a_process_that_is_killed_before_its_checkpoint_moves_has_started_what_it_started_once(
    world: World, app_url: str, temporal: EmbeddedTemporal, tmp_path: Path
) -> None:
    reaction = holding(f"killed-{uuid4().hex[:8]}", world.queue)
    first, second = await count(world, 7, 8)
    arguments = (app_url, temporal.address, reaction.name, world.queue)
    launch = Launch(
        name="reactions",
        command=[sys.executable, "-m", "tests.integration.subscriptions.reaction_process", *arguments],
        log=tmp_path / "log",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    process = await GuardedProcess.start(launch)

    async def is_stuck() -> bool:
        return process.printed("stuck")

    await until(is_stuck)
    await process.kill()
    before = await described(world, f"{reaction.name} {first} 0")
    assert await position_of(world.store, f"reaction {reaction.name}") == 0

    async with running(app_url, world, reaction):
        await caught_up(world, reaction)
        for each in (first, second):
            await world.client.get_workflow_handle(f"{reaction.name} {each} 0").result()

    assert (await described(world, f"{reaction.name} {first} 0")).run_id == before.run_id
    assert await world.account() == Account(85, {"trip-7": 7, "trip-8": 8})


async def test_of_two_processes_one_reacts_and_the_other_goes_on_when_it_ends(world: World, app_url: str) -> None:
    name = f"two-{uuid4().hex[:8]}"
    async with running(app_url, world, holding(name, world.queue)):
        async with running(app_url, world, holding(name, world.queue)):
            events = await count(world, 1, 2, 3)
            await caught_up(world, holding(name, world.queue))
        events = await count(world, 4, 5)
        await caught_up(world, holding(name, world.queue))
        for each in events:
            await world.client.get_workflow_handle(f"{name} {each} 0").result()

    assert await world.account() == Account(85, {f"trip-{amount}": amount for amount in range(1, 6)})


@pytest.mark.long
async def test_who_is_slower_than_a_lease_over_a_batch_gets_through_it_all_the_same(world: World, app_url: str) -> None:
    asked: list[int] = []

    @reacts_to(Counted, name=f"slow-{uuid4().hex[:8]}", from_="start")
    async def slow(counted: Counted) -> None:
        asked.append(counted.amount)
        await asyncio.sleep(4)

    await count(world, 1, 2, 3, 4)
    async with running(app_url, world, slow):
        await caught_up(world, slow)

    assert set(asked) == {1, 2, 3, 4}


class Stranded(Subscriber):
    """Loses its connection in the middle of a batch, without noticing."""

    name = "stranded"

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_stranded = asyncio.Event()

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        pid = (await connection.execute(text("select pg_backend_pid()"))).scalar_one()
        async with self.world.store.connection() as other:
            await other.execute("select pg_terminate_backend(%s)", (pid,))
        self.is_stranded.set()
        await asyncio.Event().wait()


async def test_a_subscription_that_is_stopped_while_its_connection_is_lost_stops(world: World, app_url: str) -> None:
    await count(world, 1)
    stranded = Stranded(world)
    task = asyncio.create_task(Subscription(app_url, stranded).run())
    async with asyncio.timeout(20):
        await stranded.is_stranded.wait()

    task.cancel()
    await asyncio.wait([task], timeout=10)

    assert task.cancelled()

"""Saga, participants, fence and store together, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from counteract import Outcome
from counteract.dev import EmbeddedTemporal
from counteract.errors import ConfigurationError
from counteract.lifecycle import sagas
from counteract.participants import Lifecycle, Participants
from counteract.plugin import CounteractPlugin
from counteract.store import ANY, PostgresEventStore
from tests.travel import bank
from tests.travel.bank import Account, CardCompany, Deposited, accounts
from tests.travel.outings import Outing, OutingRequest

pytestmark = pytest.mark.integration


@dataclass
class World:
    """Everything that a test looks at."""

    client: Client
    store: PostgresEventStore
    company: CardCompany
    queue: str

    async def outing(self, trip: str, amount: int = 60) -> list[str]:
        request = OutingRequest(account="ann", trip=trip, amount=amount)
        return await self.client.execute_workflow(Outing.run, request, id=trip, task_queue=self.queue)

    async def account(self) -> Account:
        return (await self.store.load(accounts, "ann")).state

    async def lifecycle(self, trip: str) -> list[str]:
        return [each.event_type for each in await self.store.read_stream(sagas.stream(trip))]


@pytest.fixture
async def world(temporal: EmbeddedTemporal, database_url: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresEventStore.open(database_url))
        await store.append(accounts.stream("ann"), [Deposited(amount=100)], expect=ANY)
        client = await Client.connect(temporal.address, plugins=[CounteractPlugin(Lifecycle(store))])
        company, queue = CardCompany(), f"outings-{uuid4().hex[:8]}"
        # Long polls end with their worker: a short grace keeps the next test from waiting for this one's.
        workers = [
            *Participants(store, bank, resources=[company]).workers(
                client, graceful_shutdown_timeout=timedelta(seconds=1)
            ),
            Worker(client, task_queue=queue, workflows=[Outing]),
        ]
        for worker in workers:
            await stack.enter_async_context(worker)
        yield World(client, store, company, queue)


@pytest.fixture
def trip() -> str:
    return f"outing-{uuid4().hex[:12]}"


async def test_a_completed_saga_leaves_its_events_and_one_terminal_event(world: World, trip: str) -> None:
    assert await world.outing(trip) == ["2", f"authorized {trip}", "paid"]

    assert await world.account() == Account(40, {})
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]


async def test_events_carry_their_saga_step_and_cause(world: World, trip: str) -> None:
    await world.outing(trip)

    held = (await world.store.read_stream(accounts.stream("ann")))[1]

    assert (held.metadata["saga"], held.metadata["step"], held.metadata["correlation_id"]) == (trip, "HoldMoney", trip)
    assert held.metadata["causation_id"]


async def test_a_refused_saga_leaves_nothing_but_its_history(world: World, trip: str) -> None:
    world.company.declines = True

    with pytest.raises(WorkflowFailureError) as failed:
        await world.outing(trip)

    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.message == "the saga was undone: declined"
    assert await world.account() == Account(100, {})
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]


async def test_a_provider_that_acts_and_does_not_answer_is_undone(world: World, trip: str) -> None:
    world.company.loses_answers = True

    with pytest.raises(WorkflowFailureError):
        await world.client.execute_workflow(
            Outing.run,
            OutingRequest(account="ann", trip=trip, amount=60),
            id=trip,
            task_queue=world.queue,
        )

    assert world.company.asked == [("", Outcome.UNKNOWN)]
    assert list(world.company.voided.values()) == [1]
    assert await world.account() == Account(100, {})


async def test_many_sagas_on_one_account_never_spend_more_than_there_is(world: World) -> None:
    trips = [f"outing-{uuid4().hex[:12]}" for _ in range(12)]

    ends = await asyncio.gather(*(world.outing(trip, 30) for trip in trips), return_exceptions=True)

    assert sum(isinstance(end, list) for end in ends) == 3
    assert await world.account() == Account(10, {})


async def test_a_worker_for_sagas_without_a_store_says_what_is_missing(temporal: EmbeddedTemporal) -> None:
    client = await Client.connect(temporal.address, plugins=[CounteractPlugin()])

    with pytest.raises(
        ConfigurationError, match=r"the worker of Outing .*\n  - .*CounteractPlugin\(Lifecycle\(store\)\)"
    ):
        Worker(client, task_queue="nowhere", workflows=[Outing])

"""Saga, participants, fence and store together, on real servers."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from counteract import Outcome
from counteract.dev import EmbeddedTemporal
from counteract.errors import ConfigurationError
from counteract.plugin import CounteractPlugin
from tests.travel.bank import Account, accounts
from tests.travel.bank_sagas import Outing, OutingRequest
from tests.travel.world import World

pytestmark = pytest.mark.integration


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

    with pytest.raises(ConfigurationError, match=r"the worker of Outing .*\n  - .*CounteractPlugin\(store=store\)"):
        Worker(client, task_queue="nowhere", workflows=[Outing])

"""Sagas over real participants: what the fence and the card company know decides how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from counteract import Outcome
from counteract.saga import SagaReport
from tests.travel.bank import Account
from tests.travel.bank_sagas import CardOuting, HurriedOuting, Outing, OutingRequest
from tests.travel.world import World

pytestmark = pytest.mark.integration

COMPLETED = ["SagaStarted", "SagaCompleted"]
COMPENSATED = ["SagaStarted", "SagaCompensated"]


async def compensated(world: World, handle: WorkflowHandle[Any, Any]) -> SagaReport:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "SagaCompensated", failed.value.cause
    assert await world.lifecycle(handle.id) == COMPENSATED
    return SagaReport.model_validate(failed.value.cause.details[0])


async def start(world: World, trip: str) -> WorkflowHandle[Outing, list[str]]:
    request = OutingRequest(account="ann", trip=trip, amount=60)
    return await world.client.start_workflow(Outing.run, request, id=trip, task_queue=world.queue)


async def start_with_card(world: World, trip: str) -> WorkflowHandle[CardOuting, str]:
    request = OutingRequest(account="ann", trip=trip, amount=60)
    return await world.client.start_workflow(CardOuting.run, request, id=trip, task_queue=world.queue)


async def start_in_a_hurry(world: World, trip: str, seconds: float) -> WorkflowHandle[HurriedOuting, None]:
    request = OutingRequest(account="ann", trip=trip, amount=60)
    return await world.client.start_workflow(
        HurriedOuting.run, args=[request, seconds], id=trip, task_queue=world.queue
    )


async def test_a_pivot_whose_answer_was_lost_goes_forward_with_the_recorded_result(world: World, trip: str) -> None:
    world.post.loses_answers = {"PayHeldMoney"}

    assert (await (await start(world, trip)).result())[-1] == "paid"

    assert await world.account() == Account(40, {})
    assert await world.lifecycle(trip) == COMPLETED


async def test_a_pivot_whose_order_was_lost_never_happened_and_the_saga_is_undone(world: World, trip: str) -> None:
    world.post.loses_orders = {"PayHeldMoney"}

    report = await compensated(world, await start(world, trip))

    assert [step.outcome for step in report.steps] == ["applied", "applied", "not applied"]
    assert await world.account() == Account(100, {})


async def test_a_step_whose_answer_was_lost_is_undone_by_what_is_recorded(world: World, trip: str) -> None:
    world.post.loses_answers = {"HoldMoney"}

    report = await compensated(world, await start(world, trip))

    assert [(step.outcome, step.undo) for step in report.steps] == [("unknown", "undone")]
    assert await world.account() == Account(100, {})


async def test_an_external_step_whose_order_was_lost_is_undone_all_the_same(world: World, trip: str) -> None:
    """That the store has no row of it proves nothing: it may have lost it."""
    world.post.loses_orders = {"Authorize"}

    await compensated(world, await start(world, trip))

    assert world.company.asked == [("", Outcome.UNKNOWN)]
    assert await world.account() == Account(100, {})


async def test_an_external_pivot_without_an_answer_goes_forward_when_the_provider_says_it_happened(
    world: World, trip: str
) -> None:
    world.company.loses_answers = True

    assert await (await start_with_card(world, trip)).result() == "captured after all"

    assert await world.lifecycle(trip) == COMPLETED


async def test_an_external_pivot_without_an_answer_is_undone_when_the_provider_says_it_did_not(
    world: World, trip: str
) -> None:
    world.company.unreachable = True

    report = await compensated(world, await start_with_card(world, trip))

    assert [step.outcome for step in report.steps] == ["applied", "not applied"]
    assert await world.account() == Account(100, {})


async def test_a_saga_cancelled_while_the_provider_cannot_say_waits_for_its_word(world: World, trip: str) -> None:
    world.company.loses_answers = True
    world.company.gate.clear()
    handle = await start_with_card(world, trip)
    async with asyncio.timeout(10):
        await world.company.reached.wait()

    await handle.cancel()
    await asyncio.sleep(0.2)
    assert await world.lifecycle(trip) == ["SagaStarted"]
    world.company.gate.set()

    assert await handle.result() == "captured after all"
    assert await world.lifecycle(trip) == COMPLETED


async def test_a_refusal_reaches_the_saga_with_its_facts(world: World, trip: str) -> None:
    request = OutingRequest(account="ann", trip=trip, amount=101)
    handle = await world.client.start_workflow(Outing.run, request, id=trip, task_queue=world.queue)

    report = await compensated(world, handle)

    assert report.cause == "not enough money (available=100)"


async def test_a_cancellation_reaches_a_handler_that_waits_for_its_provider(world: World, trip: str) -> None:
    world.company.gate.clear()
    handle = await start_in_a_hurry(world, trip, seconds=5)
    async with asyncio.timeout(10):
        await world.company.reached.wait()

    await handle.cancel()
    # Before its attempt would be over.
    async with asyncio.timeout(4):
        await world.company.stopped.wait()
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert isinstance(failed.value.cause, CancelledError)
    assert await world.lifecycle(trip) == COMPENSATED


async def test_a_handler_is_stopped_before_its_attempt_is_over_so_that_it_can_say_so(world: World, trip: str) -> None:
    world.company.gate.clear()

    report = await compensated(world, await start_in_a_hurry(world, trip, seconds=0.5))

    assert "ApplicationError: TimeoutError" in str(report.cause), "the handler's word, not the server's"
    assert world.company.stopped.is_set()

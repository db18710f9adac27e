"""`temporal workflow reset`, before and behind an undo, of sagas that run and of sagas that have ended."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from counteract.saga import SagaStatus
from tests.integration.saga.recoveries import recover, recovered
from tests.travel.bank import Account
from tests.travel.bank_sagas import Errand, Outing, OutingRequest, Purchase
from tests.travel.reset import reset
from tests.travel.world import World

pytestmark = pytest.mark.integration

Handle = WorkflowHandle[Outing, list[str]]


async def begin(world: World, trip: str, *, nap: float) -> Handle:
    request = OutingRequest(account="ann", trip=trip, amount=60, nap=nap)
    return await world.client.start_workflow(Outing.run, request, id=trip, task_queue=world.queue)


async def asked(world: World) -> None:
    """The card company has been asked."""
    async with asyncio.timeout(10):
        while not world.company.authorized:  # noqa: ASYNC110 - it happens in a worker
            await asyncio.sleep(0.01)


async def test_a_saga_that_was_reset_behind_its_undo_does_not_go_on(world: World, trip: str) -> None:
    handle = await begin(world, trip, nap=60)
    await asked(world)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert await world.account() == Account(100, {})

    again = await reset(world, trip, behind="HoldMoney")
    with pytest.raises(WorkflowFailureError) as failed:
        await again.result()

    assert isinstance(failed.value.cause, ApplicationError)
    assert "start a new one instead" in failed.value.cause.message
    assert await world.account() == Account(100, {}), "nothing was paid for, and nothing is held"
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]


@pytest.mark.timeout(20)
async def test_a_saga_that_was_reset_behind_the_undo_of_its_last_step_does_not_complete(
    world: World, trip: str
) -> None:
    request = OutingRequest(account="ann", trip=trip, amount=60, nap=1)
    handle = await world.client.start_workflow(Errand.run, request, id=trip, task_queue=world.queue)
    async with asyncio.timeout(10):
        while "'applied'" not in str(await handle.query("report")):
            pass
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()

    again = await reset(world, trip, behind="HoldMoney")
    with pytest.raises(WorkflowFailureError) as failed:
        await again.result()

    assert isinstance(failed.value.cause, ApplicationError)
    assert "start a new one instead" in failed.value.cause.message
    assert await world.account() == Account(100, {})


async def test_a_saga_that_was_reset_with_nothing_undone_goes_on(world: World, trip: str) -> None:
    await (await begin(world, trip, nap=0)).result()
    before = await world.account()

    again = await reset(world, trip, behind="HoldMoney")

    assert await again.result() == ["2", f"authorized {trip}", "paid"]
    assert await world.account() == before
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]


async def test_a_saga_whose_pivot_was_settled_as_happened_goes_on_after_a_reset(world: World, trip: str) -> None:
    """Its settlement is on record as an undo would be."""
    world.company.loses_answers = True
    request = OutingRequest(account="ann", trip=trip, amount=60)
    await world.client.execute_workflow(Purchase.run, request, id=trip, task_queue=world.queue)

    await reset(world, trip)

    assert await world.client.get_workflow_handle(trip).result() == "captured after all"
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]


@pytest.mark.timeout(20)
async def test_a_saga_that_was_reset_and_then_cancelled_undoes_what_it_had_done_before(world: World, trip: str) -> None:
    """The run that is cancelled has sent nothing: all of it was sent by the run that the reset ended."""
    handle = await begin(world, trip, nap=60)
    await asked(world)

    await handle.signal("pause")  # a reset hands signals on, so that the new run begins with this one
    again = await reset(world, trip)
    await again.cancel()
    with pytest.raises(WorkflowFailureError) as failed:
        await again.result()

    assert isinstance(failed.value.cause, CancelledError)
    assert await world.account() == Account(100, {})
    assert world.company.voided == world.company.authorized
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]


@pytest.mark.timeout(20)
async def test_a_completed_saga_that_was_reset_and_then_cancelled_is_not_undone(world: World, trip: str) -> None:
    result = await (await begin(world, trip, nap=1)).result()

    again = await reset(world, trip, behind="Authorize")
    await again.cancel()

    assert await again.result() == result
    assert await world.account() == Account(40, {})
    assert not world.company.voided
    assert "SagaCompensated" not in await world.lifecycle(trip)


async def test_a_saga_that_was_reset_and_then_terminated_is_recovered_whole(world: World, trip: str) -> None:
    """Its last history says nothing of what it had done before the reset."""
    handle = await begin(world, trip, nap=60)
    await asked(world)

    await handle.signal("pause")  # a reset hands signals on, so that the new run begins with this one
    again = await reset(world, trip)
    await again.terminate("by a person")
    assert await recover(world) == [trip]
    report = await recovered(world, again)

    assert report.status is SagaStatus.COMPENSATED
    assert await world.account() == Account(100, {})
    assert world.company.voided == world.company.authorized
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]


async def test_a_recovered_saga_that_is_reset_does_not_go_on(world: World, trip: str) -> None:
    handle = await begin(world, trip, nap=60)
    await asked(world)
    await handle.terminate("by a person")
    await recover(world)
    await recovered(world, handle)

    again = await reset(world, trip)
    with pytest.raises(WorkflowFailureError) as failed:
        await again.result()

    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "SagaCompensated"
    assert await world.account() == Account(100, {})
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]

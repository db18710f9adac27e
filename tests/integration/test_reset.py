"""`temporal workflow reset`, before and behind an undo."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from tests.travel.bank import Account
from tests.travel.outings import Outing, OutingRequest
from tests.travel.world import World

pytestmark = pytest.mark.integration


async def begin(world: World, trip: str, *, nap: float) -> WorkflowHandle[Outing, list[str]]:
    request = OutingRequest(account="ann", trip=trip, amount=60, nap=nap)
    return await world.client.start_workflow(Outing.run, request, id=trip, task_queue=world.queue)


async def reset(world: World, trip: str, *, behind: str) -> WorkflowHandle[Outing, list[str]]:
    """Back to the moment at which the activity had been answered, and the saga had slept no more than that."""
    events = (await world.client.get_workflow_handle(trip).fetch_history()).events
    scheduled = next(
        each.event_id for each in events if each.activity_task_scheduled_event_attributes.activity_id == behind
    )
    answered = next(
        each.event_id
        for each in events
        if each.activity_task_completed_event_attributes.scheduled_event_id == scheduled
    )
    decided = next(
        each.event_id
        for each in events
        if each.event_id > answered and each.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    )
    await world.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=world.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=trip),
            workflow_task_finish_event_id=decided,
            request_id=f"{trip} {decided}",
            reason="a test",
        )
    )
    return world.client.get_workflow_handle(trip)


async def test_a_saga_that_was_reset_behind_its_undo_does_not_go_on(world: World, trip: str) -> None:
    handle = await begin(world, trip, nap=60)
    async with asyncio.timeout(10):
        while "Authorize" not in str(await handle.query("report")):
            pass
        while not world.company.authorized:  # noqa: ASYNC110 - it happens in a worker
            await asyncio.sleep(0.01)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert await world.account() == Account(100, {})

    again = await reset(world, trip, behind="HoldMoney")
    with pytest.raises(WorkflowFailureError) as failed:
        await again.result()

    assert isinstance(failed.value.cause, ApplicationError)
    assert "HoldMoney had been undone: start a new saga instead" in failed.value.cause.message
    assert await world.account() == Account(100, {}), "nothing was paid for, and nothing is held"
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]


async def test_a_saga_that_was_reset_with_nothing_undone_goes_on(world: World, trip: str) -> None:
    await (await begin(world, trip, nap=0)).result()
    before = await world.account()

    again = await reset(world, trip, behind="HoldMoney")

    assert await again.result() == ["2", f"authorized {trip}", "paid"]
    assert await world.account() == before
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]

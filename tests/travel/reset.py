"""`temporal workflow reset`, as a test asks for it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from tests.travel.world import World

Handle = WorkflowHandle[Any, Any]

_CANCELLED = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST
_SIGNALLED = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL


async def reset(
    world: World,
    trip: str,
    *,
    behind: str = "",
    number: int = 0,
    run_id: str | None = None,
    last: bool = False,
    told: bool = True,
) -> Handle:
    """Back to its first decision, or to the one after this step was answered, to that of this `number`, or to its last; `told` its
    signals again."""
    numbered = -1 if last else number - 1
    decided = await (decision_at(world, trip, numbered) if last or number else decision(world, trip, behind, run_id))
    await world.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=world.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=trip, run_id=run_id or ""),
            workflow_task_finish_event_id=decided,
            request_id=uuid4().hex,
            # Else the new run would begin with it.
            reset_reapply_exclude_types=[_CANCELLED] if told else [_CANCELLED, _SIGNALLED],
            reason="a test",
        )
    )
    return world.client.get_workflow_handle(trip)


async def decision(world: World, trip: str, behind: str, run_id: str | None = None) -> int:
    answered, scheduled = 0, -1
    async for event in world.client.get_workflow_handle(trip, run_id=run_id).fetch_history_events():
        if event.activity_task_scheduled_event_attributes.activity_id == behind:
            scheduled = event.event_id
        if event.activity_task_completed_event_attributes.scheduled_event_id == scheduled:
            answered = event.event_id
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED and (answered or not behind):
            return event.event_id
    raise AssertionError(f"{behind} was never answered")


async def decision_at(world: World, trip: str, index: int) -> int:
    history = await world.client.get_workflow_handle(trip).fetch_history()
    decided = [e.event_id for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    return decided[index]

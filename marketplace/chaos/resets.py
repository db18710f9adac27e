"""`temporal workflow reset`, as somebody might do it at any moment, to any saga."""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client


class Point(StrEnum):
    """The decision of the workflow from which it is begun anew."""

    FIRST = "first"
    LAST = "last"
    ANY = "random"

    def among(self, decisions: Sequence[int], dice: random.Random) -> int:
        return {Point.FIRST: decisions[0], Point.LAST: decisions[-1], Point.ANY: dice.choice(decisions)}[self]


async def reset(
    client: Client, workflow_id: str, point: Point, dice: random.Random, *, run_id: str | None = None
) -> bool:
    """Reset the workflow. Returns whether it had taken any decision yet.

    Signals are handed on to the new run, and so is a cancellation. With `run_id`, an earlier run is reset of a workflow
    that has continued as new since, and does so again.
    """
    decisions = await _decisions(client, workflow_id, run_id)
    if decisions:
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id or "")
        await _reset(client, execution, point.among(decisions, dice))
    return bool(decisions)


async def begin_anew(client: Client, workflow_id: str) -> None:
    """Begin anew from the first decision of the first run, without the cancellation of any run.

    A cancellation may have come before the first decision of a later run.
    """
    first = (await client.get_workflow_handle(workflow_id).describe()).raw_info.first_run_id
    decisions = await _decisions(client, workflow_id, first)
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=first)
    await _reset(client, execution, decisions[0], ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST)


async def _decisions(client: Client, workflow_id: str, run_id: str | None = None) -> list[int]:
    return [
        event.event_id
        async for event in client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]


async def _reset(
    client: Client, execution: WorkflowExecution, decision: int, *without: ResetReapplyExcludeType.ValueType
) -> None:
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=execution,
            workflow_task_finish_event_id=decision,
            reset_reapply_exclude_types=without,
            request_id=uuid4().hex,
            reason="chaos",
        )
    )

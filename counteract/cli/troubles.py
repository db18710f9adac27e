"""The troubles of one saga, which keep it from going on, as far as the server knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counteract.errors import CounteractError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from temporalio.client import WorkflowExecutionDescription, WorkflowHandle


class SagaCodeFails(CounteractError):
    """The saga's own code has an error: correct it and restart its worker, and the saga goes on where it was."""

    def __init__(self, saga_id: str, why: str) -> None:
        super().__init__(f"{saga_id} waits for corrected code: {why}\nCorrect it and restart its worker.")


async def raise_if_code_fails(handle: WorkflowHandle[Any, Any], description: WorkflowExecutionDescription) -> None:
    """Raise SagaCodeFails where the saga's own code raises: such a workflow answers no query either."""
    from temporalio.api.enums.v1 import EventType

    if description.raw_description.pending_workflow_task.attempt <= 1:
        return
    why = None
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            why = event.workflow_task_failed_event_attributes.failure.message
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            why = None
    if why is not None:
        raise SagaCodeFails(handle.id, why)


def failing_steps(description: WorkflowExecutionDescription) -> Iterator[str]:
    """The steps and undos that are to be tried again, each with what became of the last attempt."""
    for pending in description.raw_description.pending_activities:
        if pending.HasField("last_failure"):
            failure = pending.last_failure
            kind = failure.application_failure_info.type
            yield f"{pending.activity_id}: attempt {pending.attempt}, after {f'{kind}: ' if kind else ''}{failure.message}"

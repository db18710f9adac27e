"""`counteract sagas resume`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from counteract.cli.output import say
from counteract.cli.temporal import Address, Namespace, WorkflowId, connected, recovery_of, report_of, told
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecutionDescription

    from counteract.saga import SagaReport

_STATE = "select state from sagas where saga_id = %s and run_id = %s"
_NEW = "start a new saga, under an id of its own, if it is still wanted"


class NothingToResume(CounteractError):
    """The saga is not one that can go forward: what there is to do instead stands in the message."""


def resume(
    workflow_id: WorkflowId,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="DATABASE_URL", metavar="URL", help="The saga's record is looked at too.", show_envvar=True
        ),
    ] = None,
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Let a saga go forward: a paused one, or one that ended past its pivot before it was done.

    That is one whose workflow was terminated or timed out there, or whose own code failed there and is corrected now. Its
    last run is reset to its last decision; signals that came later reach it again.
    """
    asyncio.run(_resume(workflow_id, database_url, address, namespace))


async def _resume(workflow_id: str, url: str | None, address: str | None, namespace: str | None) -> None:
    from temporalio.client import WorkflowExecutionStatus

    client = await connected(address, namespace)
    handle = client.get_workflow_handle(workflow_id)
    async with told():
        description = await handle.describe()
        if description.status is WorkflowExecutionStatus.RUNNING:
            await handle.signal("resume")
            say(f"{workflow_id} is still running: it goes on now, if it was paused")
            return
        if description.status is WorkflowExecutionStatus.COMPLETED:
            raise _completed(workflow_id)
        recovery = await recovery_of(client, workflow_id, description.raw_info.first_run_id)
        _refuse_while_recovered(workflow_id, recovery)
    state = await _recorded(url, workflow_id, description.raw_info.first_run_id) if url else None
    if not _may_go_forward(workflow_id, state):
        if recovery is not None:
            async with told():
                await _refuse_recovered(client, workflow_id, recovery)
        _check(workflow_id, await report_of(handle, description.task_queue))
    async with told():
        run_id = await _reset(client, description)
    say(f"{workflow_id} goes forward again, in the run {run_id}")


async def _recorded(url: str, workflow_id: str, run_id: str) -> str | None:
    """The state of the saga's record; None where there is none."""
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated

    with translated():
        async with await connect(url) as connection:
            row = await (await connection.execute(_STATE, (workflow_id, run_id))).fetchone()
    return str(row[0]) if row else None


def _may_go_forward(workflow_id: str, state: str | None) -> bool:
    """Whether the record says that there is a way forward. Raises NothingToResume where it says that there is none."""
    match state:
        case "completed":
            raise _completed(workflow_id)
        case "compensated" | "never":
            raise NothingToResume(f"{workflow_id} was undone, its record says: {_NEW}")
        case "turning back":
            raise NothingToResume(
                f"{workflow_id} has turned back, its record says: `counteract sagas recover` undoes the rest; then {_NEW}"
            )
    return state in ("at the pivot", "past the pivot")


def _check(workflow_id: str, report: SagaReport) -> None:
    """Raise NothingToResume where the saga's own report says that there is no way forward.

    A pivot without an outcome may have happened: the saga asks for it under its own id, and is told.
    """
    from counteract.messages import CommandKind, Outcome
    from counteract.saga import SagaStatus

    if report.status is SagaStatus.COMPLETED:
        raise _completed(workflow_id)
    if report.status is SagaStatus.COMPENSATED:
        raise NothingToResume(f"{workflow_id} was undone: {_NEW}")
    pivots = [step for step in report.steps if step.kind is CommandKind.PIVOT]
    if all(step.outcome is Outcome.NOT_APPLIED for step in pivots):
        raise NothingToResume(
            f"{workflow_id} ended before its pivot: `counteract sagas recover` undoes what it did; then {_NEW}"
        )


def _refuse_while_recovered(workflow_id: str, recovery: WorkflowExecutionDescription | None) -> None:
    from temporalio.client import WorkflowExecutionStatus

    if recovery and recovery.status is WorkflowExecutionStatus.RUNNING:
        raise NothingToResume(f"{workflow_id} is being recovered: wait until `{recovery.id}` has ended, and ask again")


async def _refuse_recovered(client: Client, workflow_id: str, recovery: WorkflowExecutionDescription) -> None:
    """Raise NothingToResume where a recovery has undone the saga: one that succeeded, and returned a report.

    One that returned nothing let the saga go on, and one that failed found it past its pivot.
    """
    from temporalio.client import WorkflowExecutionStatus

    if recovery.status is WorkflowExecutionStatus.COMPLETED:
        report = await client.get_workflow_handle(recovery.id, run_id=recovery.run_id).result()
        if report is not None:
            raise NothingToResume(f"{workflow_id} was undone by recovery: {_NEW}")


async def _reset(client: Client, description: WorkflowExecutionDescription) -> str:
    """Reset the saga to its last decision. Returns the id of the new run."""
    from temporalio.api.common.v1 import WorkflowExecution
    from temporalio.api.enums.v1 import ResetReapplyExcludeType
    from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

    execution = WorkflowExecution(workflow_id=description.id, run_id=description.run_id)
    request = ResetWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=execution,
        workflow_task_finish_event_id=await _last_decision(client, execution),
        request_id=str(uuid4()),
        # A person has just said that it is to go on.
        reset_reapply_exclude_types=[ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST],
        reason="counteract sagas resume",
    )
    return (await client.workflow_service.reset_workflow_execution(request)).run_id


async def _last_decision(client: Client, execution: Any) -> int:
    """The id of the event with which the last workflow task was completed. Raises NothingToResume without one."""
    from temporalio.api.enums.v1 import EventType
    from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest

    request = GetWorkflowExecutionHistoryReverseRequest(namespace=client.namespace, execution=execution)
    while True:
        page = await client.workflow_service.get_workflow_execution_history_reverse(request)
        for event in page.history.events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                return event.event_id
        if not page.next_page_token:
            raise NothingToResume(f"{execution.workflow_id} never began: {_NEW}")
        request.next_page_token = page.next_page_token


def _completed(workflow_id: str) -> NothingToResume:
    return NothingToResume(f"{workflow_id} has completed: there is nothing left to do")

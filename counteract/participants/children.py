"""The end of a child saga of which its parent has not heard: the child was terminated or lost, or the parent was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from counteract.lifecycle import ENDED, PARENT, Parent
from counteract.participants.recovery import described
from counteract.store import PostgresEventStore

_OF_STEP = "select state from sagas where parent_command = %(command)s"
# A child whose workflow began it anew goes on under the run that it had then.
_OF_WORKFLOW = """
    select s.state, s.parent_command from sagas s
    where s.saga_id = %(saga)s and (s.run_id = %(run)s or split_part(s.last_run, ' ', 1) = %(run)s)
    order by s.began_at desc limit 1
"""
_HEED = "select from heed_ends(array[%(saga)s], array[%(run)s])"
_SETTLE = "select state from settle_child(%(command)s, %(saga)s, %(type)s, %(namespace)s)"
_LAST_RUN = """
    select ended.event_type
    from events started
    left join events ended
      on ended.aggregate_type = 'saga' and ended.aggregate_id = started.aggregate_id
     and ended.event_type in ('SagaCompleted', 'SagaCompensated')
     and ended.event_data ->> 'run_id' = started.event_data ->> 'run_id'
    where started.aggregate_type = 'saga' and started.aggregate_id = %(saga)s and started.event_type = 'SagaStarted'
    order by started.version desc
    limit 1
"""


async def child_completed(client: Client, store: PostgresEventStore, saga_id: str, parent_id: str) -> bool:
    """Whether the child saga has completed, by its own events, of which one ends it.

    False also where somebody else began the workflow of this id. Raises ApplicationError while the child has not ended,
    to be asked again.
    """
    found = await described(client, saga_id, None)
    if found is not None:
        if found.parent_id != parent_id:
            return False
        if found.status is WorkflowExecutionStatus.RUNNING:
            raise await _asked_to_stop(client, found)
        if found.status is WorkflowExecutionStatus.COMPLETED:
            return True
    row = await _fetch(store, _LAST_RUN, {"saga": saga_id})
    if row is None:
        return False  # It has not begun, and so has no step.
    if row[0] is None:
        raise ApplicationError(f"the child saga {saga_id} has neither completed nor been undone: it is to be recovered")
    return bool(row[0] == "SagaCompleted")


async def child_settled(
    client: Client, store: PostgresEventStore, saga_id: str, parent_id: str, saga_type: str, parent_command: UUID
) -> bool:
    """Whether the child saga has completed, by the record that holds this command of its parent.

    Where there is no such record, none can be made afterwards. Raises ApplicationError while the child has not ended,
    to be asked again.
    """
    recorded = await _fetch(store, _OF_STEP, {"command": parent_command})
    if recorded is not None and recorded[0] in ENDED:
        return bool(recorded[0] == "completed")
    found = await described(client, saga_id, None)
    if found is not None and await _is_child_of(found, store, parent_id, parent_command):
        if recorded is None and await _has_completed(found, store):
            return True
        if found.status is WorkflowExecutionStatus.RUNNING:
            open_yet = await _asked_to_stop(client, found)
            if recorded is None and await _has_begun(client, found):
                # A record that says `never` would be a guess: past its pivot it completes all the same.
                raise open_yet
    about = {"command": parent_command, "saga": saga_id, "type": saga_type, "namespace": client.namespace}
    (state,) = await _fetch(store, _SETTLE, about)
    if state not in ENDED:
        raise ApplicationError(f"the child saga {saga_id} is {state}: it is to end, or to be recovered")
    return bool(state == "completed")


async def _is_child_of(
    found: WorkflowExecutionDescription, store: PostgresEventStore, parent_id: str, parent_command: UUID
) -> bool:
    """Whether the workflow is the child of that very step.

    An earlier or a later saga may have had the parent's id, and its child this one's.
    """
    said: Parent | None = await found.memo_value(PARENT, None, type_hint=Parent)
    if said is not None:
        return said.command_id == parent_command
    # The release before began it, and said nothing.
    own = await _fetch(store, _OF_WORKFLOW, _of(found))
    return found.parent_id == parent_id and (own is None or own[1] in (None, parent_command))


async def _has_completed(found: WorkflowExecutionDescription, store: PostgresEventStore) -> bool:
    """Whether the child has completed, by a record that names no parent.

    A worker of the release before wrote it, or the store lost it and it was made anew. Raises ApplicationError where
    the child is lost.
    """
    await _fetch(store, _HEED, _of(found))
    own = await _fetch(store, _OF_WORKFLOW, _of(found))
    if own is not None and own[0] in ENDED:
        return bool(own[0] == "completed")
    if own is not None and found.status not in (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED):
        raise ApplicationError(f"the child saga {found.id} is {own[0]}: it is to be recovered")
    return found.status is WorkflowExecutionStatus.COMPLETED


async def _asked_to_stop(client: Client, found: WorkflowExecutionDescription) -> ApplicationError:
    """Request the child's cancellation, and return the error that has the question asked again.

    The parent's own request may have been lost with the parent. A child that is past its pivot completes all the same.
    """
    await client.get_workflow_handle(found.id, run_id=found.run_id).cancel()
    return ApplicationError(f"the child saga {found.id} is still open, and has been asked to stop")


async def _has_begun(client: Client, found: WorkflowExecutionDescription) -> bool:
    """Whether the child's code may have sent anything: none does before the end of its first workflow task."""
    if found.run_id != found.raw_info.first_run_id:
        return True
    history = client.get_workflow_handle(found.id, run_id=found.run_id).fetch_history_events()
    async for event in history:
        if event.HasField("workflow_task_completed_event_attributes"):
            return True
    return False


def _of(found: WorkflowExecutionDescription) -> dict[str, str]:
    return {"saga": found.id, "run": found.raw_info.first_run_id}


async def _fetch(store: PostgresEventStore, query: str, parameters: Mapping[str, Any]) -> Any:
    async with store.connection() as connection:
        return await (await connection.execute(query, parameters)).fetchone()

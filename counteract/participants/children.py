"""What became of a child saga of whose end its parent has not heard: it was terminated, lost, or the parent was."""

from __future__ import annotations

from uuid import UUID

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from counteract.store import PostgresEventStore

_ANOTHERS = "select exists (select from sagas where saga_id = %s and parent_command is distinct from %s)"
_SETTLE = "select state, is_new from settle_child(%s, %s, %s, %s)"
_LAST_RUN = """
    select ended.event_type
    from events started
    left join events ended
      on ended.aggregate_type = 'saga' and ended.aggregate_id = started.aggregate_id
     and ended.event_type in ('SagaCompleted', 'SagaCompensated')
     and ended.event_data ->> 'run_id' = started.event_data ->> 'run_id'
    where started.aggregate_type = 'saga' and started.aggregate_id = %s and started.event_type = 'SagaStarted'
    order by started.version desc
    limit 1
"""


async def child_completed(client: Client, store: PostgresEventStore, saga_id: str, parent_id: str) -> bool:
    """Its own record says it: a saga ends there exactly once. Raises ApplicationError while it has not ended.

    A workflow that another began under the same id is none of the parent's business, and false.
    """
    found = await _described(client, saga_id)
    if found is not None:
        if found.parent_id != parent_id:
            return False
        if found.status is WorkflowExecutionStatus.RUNNING:
            # The parent's own request may have been lost with it. A saga that is past its pivot completes all the same.
            await client.get_workflow_handle(saga_id, run_id=found.run_id).cancel()
            raise ApplicationError(f"the child saga {saga_id} is still open, and has been asked to stop")
        if found.status is WorkflowExecutionStatus.COMPLETED:
            return True
    async with store.connection() as connection:
        row = await (await connection.execute(_LAST_RUN, (saga_id,))).fetchone()
    if row is None:
        return False  # It has not begun, and so has no step.
    if row[0] is None:
        raise ApplicationError(f"the child saga {saga_id} has neither completed nor been undone: it is to be recovered")
    return bool(row[0] == "SagaCompleted")


async def child_settled(
    client: Client, store: PostgresEventStore, saga_id: str, parent_id: str, saga_type: str, parent_command: UUID
) -> bool:
    """Its record says it, which holds the command of its parent. Where there is none, none will come.

    Raises ApplicationError while it has not ended, to be asked again.
    """
    found = await _described(client, saga_id)
    mine = found is not None and found.parent_id == parent_id
    if found is not None and mine and found.status is WorkflowExecutionStatus.RUNNING:
        # The parent's own request may have been lost with it. A saga that is past its pivot completes all the same.
        await client.get_workflow_handle(saga_id, run_id=found.run_id).cancel()
    async with store.connection() as connection:
        settled = await connection.execute(_SETTLE, (parent_command, saga_id, saga_type, client.namespace))
        ((state, is_new),) = await settled.fetchall()
    if state not in ("completed", "compensated", "never"):
        raise ApplicationError(f"the child saga {saga_id} is {state}: it is to end, or to be recovered")
    if is_new and mine and found is not None and found.status is WorkflowExecutionStatus.COMPLETED:
        async with store.connection() as connection:
            others = await connection.execute(_ANOTHERS, (saga_id, parent_command))
            ((is_anothers,),) = await others.fetchall()
        # Where none was kept, a worker of the release before carried it out. Else it was another saga's child, of one that had the
        # parent's id before.
        return not is_anothers and await child_completed(client, store, saga_id, parent_id)
    return bool(state == "completed")


async def _described(client: Client, saga_id: str) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(saga_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or "workflow" not in error.message.lower():
            raise
        return None

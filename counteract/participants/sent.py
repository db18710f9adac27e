"""The commands that all runs of a saga have sent out, by their histories, which outlive a store that forgot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import ActivitySerializationContext, DataConverter, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from counteract.commands import command_type, command_types
from counteract.errors import ConfigurationError
from counteract.lifecycle import CHILD, Lost, LostStep
from counteract.messages import CommandKind, command_id_of
from counteract.store import PostgresEventStore

_COMMANDS = """
    select step, activity_type, task_queue, command, command_id from commands
    where saga_id = %(saga)s and undoes is null and status <> 'rejected'
    order by coalesce(started_at, recorded_at)
"""


# Where the record of a child saga does not name its parent, the command that undoes it is all that there is.
_KNOWN = """
    select command_id from commands where command_id = any (%(sent)s)
    union all select parent_command from sagas where parent_command = any (%(sent)s)
    union all select command_id from commands where command_id = any (%(undone)s) and status = 'done'
"""
_MOST_BYTES = 1_000_000


async def sent(
    client: Client, store: PostgresEventStore, saga_id: str, run_id: str, last_run: str | None
) -> list[LostStep]:
    """All commands of the saga in the order in which they were sent, each once, whichever of its runs sent it.

    The histories know of commands that no participant has recorded yet: those must be fenced too. The `commands` table
    knows of those whose run was reset and is not among the last one's ancestors, or is known to no server any more.
    """
    steps: dict[str, LostStep] = {}
    for history in await _histories(client, saga_id, last_run):
        async for step in _scheduled(history, client):
            steps.setdefault(step.key, step)
    async for step in _recorded(store, saga_id, run_id):
        steps.setdefault(step.key, step)
    return list(steps.values())


async def unrecorded(client: Client, store: PostgresEventStore, lost: Lost, last_run: str | None) -> list[LostStep]:
    """The commands that the saga sent and the store has no row of: the pivots, and the latest few that can be undone.

    With each undo they become fewer. Raises ApplicationError, which is not tried again, where a history cannot be read.
    """
    if last_run is None:
        return []
    sent_out: dict[str, LostStep] = {}
    try:
        for history in await _histories(client, lost.saga_id, last_run):
            async for step in _scheduled(history, client):
                # What undoes a child saga goes out under the child's key.
                sent_out.setdefault(step.key, step)
    except Exception as error:
        if isinstance(error, RPCError):
            raise
        why = f"the history of {lost.saga_id} cannot be read: {type(error).__name__}: give the worker its codec"
        raise ApplicationError(why, type="UnreadableHistory", non_retryable=True) from error
    ids = {command_id_of(lost.saga_id, lost.run_id, key): key for key in sent_out}
    undos = {command_id_of(lost.saga_id, lost.run_id, f"undo {key}"): key for key in sent_out}
    async with store.connection() as connection:
        rows = await connection.execute(_KNOWN, {"sent": list(ids), "undone": list(undos)})
        known = {(ids | undos)[command_id] for (command_id,) in await rows.fetchall()}
    forgotten = [step for key, step in sent_out.items() if key not in known]
    kinds = {step.key: _kind(step) for step in forgotten}
    # A pivot that may have taken effect is asked about before anything is undone; an unknown command may be one.
    pivots = [step for step in forgotten if kinds[step.key] is CommandKind.PIVOT]
    unknown = [step for step in forgotten if kinds[step.key] is None]
    undoable = [step for step in reversed(forgotten) if kinds[step.key] is CommandKind.COMPENSATABLE]
    return [*pivots, *_fitting([*unknown, *undoable])]


def _kind(step: LostStep) -> CommandKind | None:
    try:
        return command_type(step.command_type, step.service).kind
    except ConfigurationError:
        return None


def _fitting(steps: Sequence[LostStep]) -> list[LostStep]:
    """As many of the steps as one answer may hold, and at least one."""
    found: list[LostStep] = []
    room = _MOST_BYTES
    for step in steps:
        room -= len(step.model_dump_json())
        if found and room < 0:
            break
        found.append(step)
    return found


async def _histories(client: Client, saga_id: str, run_id: str | None) -> list[WorkflowHistory]:
    """The histories of this run and of those that it was reset or continued from, the earliest first."""
    found: list[WorkflowHistory] = []
    while run_id is not None:
        try:
            history = await client.get_workflow_handle(saga_id, run_id=run_id).fetch_history()
        except RPCError as error:
            if not found or error.status is not RPCStatusCode.NOT_FOUND:
                raise
            break  # Its time was over: what it did is in the `commands` table.
        found.insert(0, history)
        run_id = _reset_from(history) or _continued_from(history)
    return found


def _reset_from(history: WorkflowHistory) -> str | None:
    """The run whose history this one repeats up to the last reset in it."""
    failures = [each.workflow_task_failed_event_attributes for each in history.events]
    resets = [
        each for each in failures if each.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
    ]
    return resets[-1].base_run_id if resets else None


def _continued_from(history: WorkflowHistory) -> str | None:
    return history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id or None


async def _scheduled(history: WorkflowHistory, client: Client) -> AsyncIterator[LostStep]:
    converter = client.data_converter
    names = {name for _, name in command_types()}
    for event in history.events:
        scheduled = event.activity_task_scheduled_event_attributes
        begun = event.start_child_workflow_execution_initiated_event_attributes
        if (name := scheduled.activity_type.name) in names:
            command, dispatch = await _reader(client, history, scheduled).decode(scheduled.input.payloads)
            yield LostStep(key=dispatch["step"], command_type=name, service=scheduled.task_queue.name, command=command)
        elif CHILD in begun.memo.fields:
            of_child = converter.with_context(WorkflowSerializationContext(begun.namespace, begun.workflow_id))
            (child,) = await of_child.decode([begun.memo.fields[CHILD]], [LostStep])
            yield child


def _reader(client: Client, history: WorkflowHistory, scheduled: ActivityTaskScheduledEventAttributes) -> DataConverter:
    """The converter of what was sent to an activity: a codec may have a key of its own for each workflow."""
    started = history.events[0].workflow_execution_started_event_attributes
    context = ActivitySerializationContext(
        namespace=client.namespace,
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type.name,
        activity_task_queue=scheduled.task_queue.name,
        workflow_id=history.workflow_id,
        workflow_type=started.workflow_type.name,
        is_local=False,
    )
    return client.data_converter.with_context(context)


async def _recorded(store: PostgresEventStore, saga_id: str, run_id: str) -> AsyncIterator[LostStep]:
    async with store.connection() as connection:
        rows: list[Any] = await (await connection.execute(_COMMANDS, {"saga": saga_id})).fetchall()
    for step, name, service, command, command_id in rows:
        # Rows of an earlier saga under the same workflow id have other ids.
        if command_id == command_id_of(saga_id, run_id, step):
            yield LostStep(key=step, command_type=name, service=service, command=command)

"""The inquiry into a run that is over: the server's histories, the database and the saga itself are asked about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from temporalio.api.enums.v1 import EventType, TimeoutType, WorkflowTaskFailedCause
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from counteract.lifecycle import LifecycleEvent, sagas
from counteract.messages import Dispatch, Standing
from counteract.messages import Role as SentAs
from counteract.participants.handlers import Role
from counteract.saga import SagaReport
from counteract.saga.converter import COMPENSATED, data_converter
from counteract.saga.interceptor import STANDING
from counteract.saga.report import SAGA_STATUS, SAGA_STEP
from counteract.store import EventDecoder, PostgresEventStore
from counteract.testing.exploration.evidence import End, Evidence, Row, Sent, Shown
from counteract.testing.exploration.faults import Ending, place_of
from counteract.testing.exploration.run import Run
from counteract.testing.protocol import traces

_COMMANDS = (
    "select command_id, status, step, activity_type, undoes, recorded_at, saga_type, task_queue, command, result"
    " from commands where saga_id = %s order by recorded_at"
)
_LIFECYCLE: EventDecoder[LifecycleEvent] = EventDecoder(sagas.event_classes)
_FAILURES = {
    COMPENSATED: Ending.COMPENSATED,
    "SagaIncomplete": Ending.INCOMPLETE,
    **dict.fromkeys(("SagaReset", "SagaSuperseded", "SagaTurnedBack", "SagaPastPivot"), Ending.REFUSED),
}
_QUERIES = 5
_TOO_SLOW = "TMPRL1101"
"""The SDK's code for workflow code that does not yield."""
_OF_THE_CODE = (
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
)
_CLOSED = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "activity_task_completed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "activity_task_timed_out_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: "activity_task_canceled_event_attributes",
}


async def gather(run: Run, store: PostgresEventStore, end: End) -> Evidence:
    """All evidence of a run that is over, so that nothing changes any more."""
    histories, rows, found, lifecycle, report, attributes = await asyncio.gather(
        _histories(run),
        _fetch(store, _COMMANDS, run.id),
        traces(store, [run.id]),
        store.read_stream(sagas.stream(run.id)),
        _reported(run, end.ending),
        _attributes(run),
    )
    runs_again = run.fault.runs_again or run.resumed
    together = {id(command) for commands in run.together for command in commands}
    unanswered = {id(command) for command in run.unanswered}
    sent = _activities_in(histories, run)
    began = histories[0].events[0].workflow_execution_started_event_attributes
    return Evidence(
        ending=end.ending,
        why=end.why,
        report=report,
        lifecycle=[_LIFECYCLE.decode(each).event for each in lifecycle],
        rows=[Row(*row) for row in rows],
        sent=sent,
        together={each.place.step for each in sent if id(run.commands[each.command_id]) in together},
        unanswered={each.place.step for each in sent if id(run.commands[each.command_id]) in unanswered},
        refused=set(run.refused),
        vanished=set(run.vanished),
        forgotten=set(run.forgotten),
        journal=tuple(run.journal),
        complaints=tuple(run.complaints),
        commands=dict(run.commands),
        end=end,
        saga_type=began.workflow_type.name,
        run_id=began.first_execution_run_id,
        shown=[each for history in histories for each in _shown(history)],
        attributes=attributes,
        timers=[each for history in histories for each in _timers(history)],
        deadline=run.deadline,
        workflow_tasks=sum(
            event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
            for history in histories
            for event in history.events
        ),
        record=found[0].record.state if found else None,
        # Where several runs sent undos, some histories are gone.
        traces=[replace(each, roles={} if runs_again else _roles(sent)) for each in found],
        runs_again=runs_again,
        decisions=tuple(run.decisions),
        resets=run.resets,
        is_paused=run.is_paused,
        task_failure=next(filter(None, map(_task_failure, reversed(histories))), ""),
    )


def nothing_known(run: Run) -> Evidence:
    """The evidence of a run that could not be looked into."""
    return Evidence(Ending.UNKNOWN, "", None, (), (), (), (), tuple(run.complaints))


def end_of(status: WorkflowExecutionStatus | None, failure: BaseException | None) -> End:
    """The end of a workflow, as it tells of it itself."""
    told = failure.details[0] if isinstance(failure, ApplicationError) and failure.details else None
    try:
        report = SagaReport.model_validate(told)
    except ValidationError:
        report = None
    return End(_ending_of(status, failure), str(failure), report, failure.__cause__ if failure else None)


def _ending_of(status: WorkflowExecutionStatus | None, cause: BaseException | None) -> Ending:
    if status is WorkflowExecutionStatus.CANCELED:
        return Ending.CANCELLED
    if status is WorkflowExecutionStatus.COMPLETED:
        return Ending.COMPLETED
    kind = cause.type if isinstance(cause, ApplicationError) else None
    return _FAILURES.get(kind or "", Ending.FAILED)


async def _histories(run: Run) -> list[WorkflowHistory]:
    """The histories of all its workflow's runs, in their order, and then those of the workflows that recovered it."""
    found: list[WorkflowHistory] = []
    for run_id in run.run_ids or [None]:
        own = [await run.client.get_workflow_handle(run.id, run_id=run_id).fetch_history()]
        while earlier := own[0].events[0].workflow_execution_started_event_attributes.continued_execution_run_id:
            own.insert(0, await run.client.get_workflow_handle(run.id, run_id=earlier).fetch_history())
        found += [each for each in own if each.run_id not in {known.run_id for known in found}]
    return found + [await run.client.get_workflow_handle(each).fetch_history() for each in run.others]


def _activities_in(histories: Sequence[WorkflowHistory], run: Run) -> list[Sent]:
    """The activities in these histories, in their order. Events are numbered on from one history to the next."""
    found: list[Sent] = []
    before = 0
    for history in histories:
        found += _sent_in(history, run, before)
        before += len(history.events)
    return found


def _sent_in(history: WorkflowHistory, run: Run, before: int) -> list[Sent]:
    by_event: dict[int, Sent] = {}
    for event in history.events:
        if _is_reset(event):
            # What came before repeats the run that was reset; of that, only what is still open goes on here.
            by_event = {number: sent for number, sent in by_event.items() if sent.ended is None}
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            if sent := _scheduled(event.activity_task_scheduled_event_attributes, run, before + event.event_id, before):
                by_event[event.event_id] = sent
        elif (closed := _CLOSED.get(event.event_type)) and (
            found := by_event.get(getattr(event, closed).scheduled_event_id)
        ):
            found.ended = before + event.event_id
            found.succeeded = event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
            for payload in getattr(event, closed).result.payloads if found.succeeded else ():
                found.answer = data_converter.payload_converter.from_payload(payload)
            found.failed, found.is_final = _failure(event)
            timed_out = event.activity_task_timed_out_event_attributes.failure.timeout_failure_info
            found.is_lost = timed_out.timeout_type == TimeoutType.TIMEOUT_TYPE_HEARTBEAT
    for sent in by_event.values():
        # Whoever ended the workflow ended what it had in flight.
        sent.ended = sent.ended or before + len(history.events)
    return list(by_event.values())


def _failure(event: Any) -> tuple[str, bool]:
    """The type of the failure, and whether it is final; for a timeout after failed attempts, those of the last one."""
    failure = event.activity_task_failed_event_attributes.failure
    if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
        failure = event.activity_task_timed_out_event_attributes.failure.cause
    said = failure.application_failure_info
    return said.type, said.non_retryable or not said.type


def _is_reset(event: Any) -> bool:
    failed = event.workflow_task_failed_event_attributes
    return bool(failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW)


def _scheduled(scheduled: Any, run: Run, event: int, before: int) -> Sent | None:
    """The activity of a step; None for any other, of the saga's own code or of the engine."""
    payloads = scheduled.input.payloads
    try:
        dispatch = data_converter.payload_converter.from_payload(payloads[1], Dispatch)
        command = type(run.commands[dispatch.command_id])
    except (IndexError, KeyError, ValueError):
        return None
    return Sent(
        place=place_of(command, dispatch, scheduled.activity_type.name),
        command=command,
        command_id=dispatch.command_id,
        begun=event,
        group=before + scheduled.workflow_task_completed_event_id,
        repeats=scheduled.retry_policy.maximum_attempts != 1,
        key=dispatch.step,
        activity=scheduled.activity_type.name,
        undoes=dispatch.undoes,
        sent_as=_sent_as(scheduled),
    )


def _sent_as(scheduled: Any) -> SentAs | None:
    header = scheduled.header.fields.get(STANDING)
    return data_converter.payload_converter.from_payload(header, Standing).role if header is not None else None


def _roles(sent: Sequence[Sent]) -> Mapping[UUID, Set[SentAs]]:
    """The roles in which each undo was sent, by its own command id."""
    roles: dict[UUID, set[SentAs]] = {}
    for each in sent:
        if each.place.role is Role.COMPENSATES and each.sent_as is not None:
            roles.setdefault(each.command_id, set()).add(each.sent_as)
    return roles


def _shown(history: WorkflowHistory) -> Iterator[Shown]:
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
            fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
            values = {name: data_converter.payload_converter.from_payload(each) for name, each in fields.items()}
            yield Shown(_only(values.get(SAGA_STATUS.name)), _only(values.get(SAGA_STEP.name)))


def _only(value: Any) -> str:
    """The value of a keyword attribute, which comes alone or in a list."""
    return str(value[0] if isinstance(value, list) and value else value or "")


def _timers(history: WorkflowHistory) -> Iterator[timedelta]:
    started = (each for each in history.events if each.event_type == EventType.EVENT_TYPE_TIMER_STARTED)
    return (each.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta() for each in started)


async def _attributes(run: Run) -> Shown:
    held = (await run.handle.describe()).typed_search_attributes
    return Shown(held.get(SAGA_STATUS) or "", held.get(SAGA_STEP) or "")


def _task_failure(history: WorkflowHistory) -> str:
    """The last error of the workflow's own code, or the engine's.

    Workflow tasks that the server gave up, for a reset or because of news that had come meanwhile, are no errors.
    """
    failed = [each.workflow_task_failed_event_attributes for each in history.events]
    said = [
        each.failure.message for each in failed if each.cause in _OF_THE_CODE and _TOO_SLOW not in each.failure.message
    ]
    return said[-1] if said else ""


async def _reported(run: Run, ending: Ending) -> SagaReport | None:
    if ending in (Ending.HUNG, Ending.RECOVERED):
        return None
    for patience in range(_QUERIES, 0, -1):
        try:
            return await run.report()
        except RPCError:
            return None
        except WorkflowQueryFailedError as error:
            # The worker replays the history to answer, which a busy machine may take too long for.
            if patience > 1 and _TOO_SLOW in str(error):
                continue
            run.complain(f"it does not answer the report query once it is over: {str(error).partition(chr(10))[0]}")
    return None


async def _fetch(store: PostgresEventStore, query: str, saga_id: str) -> Sequence[Any]:
    async with store.connection() as connection:
        return await (await connection.execute(query.encode(), (saga_id,))).fetchall()

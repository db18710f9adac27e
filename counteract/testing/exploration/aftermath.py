"""The end of a run's workflow, and all that follows its first end: recovery, a reset, another attempt."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowContinuedAsNewError, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError

from counteract.lifecycle import LifecycleEvent, SagaCompensated, SagaCompleted, SagaStuck, sagas
from counteract.saga.recovery import RecoverSagas
from counteract.store import EventDecoder, PostgresEventStore
from counteract.testing.exploration.evidence import End
from counteract.testing.exploration.faults import Ending
from counteract.testing.exploration.inquiry import end_of
from counteract.testing.exploration.run import Run

_STILL = 4
"""The number of looks in a row without progress after which a run counts as hung."""
_LOOKS = 32
"""The number of looks altogether after which a run counts as going in circles."""
_PATIENCE = 100
"""The number of looks before another round of recovery."""
_LOOK = 0.05
"""Seconds between two looks at what recovery has come to."""
_LIFECYCLE: EventDecoder[LifecycleEvent] = EventDecoder(sagas.event_classes)
_LOST = (WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.TIMED_OUT)


async def end(run: Run, store: PostgresEventStore, queue: str, seconds: float) -> End:
    """The end of the workflow's last run, or what recovery made of it; HUNG where it makes no progress for `seconds`.

    On a busy machine a run may take longer than that, and still make progress.
    """
    coming, known, still = asyncio.create_task(_end(run, store, queue)), None, 0
    try:
        for _ in range(_LOOKS):
            await asyncio.wait([coming], timeout=seconds / _STILL)
            if coming.done():
                return coming.result()
            before, known = known, await _progress(run)
            still = still + 1 if known == before else 0
            if still == _STILL:
                break
        return End(Ending.HUNG)
    finally:
        coming.cancel()


async def _end(run: Run, store: PostgresEventStore, queue: str) -> End:
    found, status = await _ended(run)
    while run.afterwards:
        await run.afterwards.pop(0)(run)
        found, status = await _ended(run)
    if status not in _LOST or not run.fault.recovered:
        return found
    recovered = await _recovered(run, store, queue)
    return await _resumed(run) if recovered.ending is Ending.REPORTED else recovered


async def _progress(run: Run) -> object:
    """A value that changes as long as the workflow makes progress."""
    description = await run.handle.describe()
    return description.run_id, description.history_length


async def _ended(run: Run) -> tuple[End, WorkflowExecutionStatus | None]:
    """Wait for the end of the workflow's last run.

    Run by run: to wait for one run does not tell of another that a reset begins.
    """
    while True:
        run_id = (await run.handle.describe()).run_id
        run.run_ids.setdefault(run_id)
        failure: BaseException | None = None
        try:
            await run.client.get_workflow_handle(run.id, run_id=run_id).result(follow_runs=False)
        except WorkflowContinuedAsNewError:
            continue
        except WorkflowFailureError as failed:
            failure = failed.cause
        last = await run.handle.describe()
        if last.run_id == run_id:
            return end_of(last.status, failure), last.status


async def _resumed(run: Run) -> End:
    """Have a saga that was lost past its pivot go on, as `counteract sagas resume` does."""
    run.resumed = True
    await reset(run, 0)
    return (await _ended(run))[0]


async def _recovered(run: Run, store: PostgresEventStore, queue: str) -> End:
    """Recover the saga as the schedule does, in round after round; each is for all sagas that are lost by then."""
    while True:
        await run.around.rounds.after_now(functools.partial(_round, run, queue))
        for _ in range(_PATIENCE):
            if found := await _on_record(run, store):
                return found
            await asyncio.sleep(_LOOK)


async def _round(run: Run, queue: str) -> None:
    with suppress(WorkflowFailureError):
        await run.client.execute_workflow(
            RecoverSagas.run, False, id=f"explore-recovery-{uuid4().hex}", task_queue=queue
        )


async def _on_record(run: Run, store: PostgresEventStore) -> End | None:
    told = [_LIFECYCLE.decode(each).event for each in await store.read_stream(sagas.stream(run.id))]
    if not told:
        return End(Ending.CANCELLED)  # It had not begun.
    match told[-1]:
        case SagaCompensated():
            return End(Ending.RECOVERED)
        case SagaCompleted():
            return End(Ending.COMPLETED)
        case SagaStuck(why=why) if not run.decisions:
            return End(Ending.REPORTED, why)
    return None


# What is done to a workflow.


async def reset(run: Run, decision: int) -> None:
    """Reset the workflow to one of its decisions, counted from 1; to the last one with 0, or where there are fewer."""
    description = await run.handle.describe()
    decisions = await decisions_of(run)
    number = min(decision or len(decisions), len(decisions))
    with suppress(RPCError):
        answer = await run.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=run.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=run.id, run_id=description.run_id),
                reason="explore",
                workflow_task_finish_event_id=decisions[number - 1],
                request_id=uuid4().hex,
                # What faults have told the workflow is not to be told again.
                reset_reapply_exclude_types=[
                    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL,
                    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
                ],
            )
        )
        run.run_ids.setdefault(answer.run_id)
        run.resets += 1


def reset_to(decision: int) -> Callable[[Run], Awaitable[None]]:
    """An action for `Fault.afterwards`: reset the workflow to this decision, as `reset` counts it."""

    async def then(run: Run) -> None:
        await reset(run, decision)

    return then


async def decisions_of(run: Run) -> Sequence[int]:
    """The ids of the events by which its workflow tasks were completed."""
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return [each.event_id for each in (await run.handle.fetch_history()).events if each.event_type == completed]


async def wait_for_addition(run: Run, count: int, seconds: float) -> None:
    """Wait, for at most `seconds`, until `count` of the steps that exploration added are answered or refused."""
    over = time.monotonic() + seconds
    while len(run.additions) < count and time.monotonic() < over and not run.ended.is_set():  # noqa: ASYNC110 - in another thread
        await asyncio.sleep(0.02)

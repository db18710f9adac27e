"""A saga that this run continues, and that its code has yet to open.

What stops the run, or fails it, is the saga's concern already.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.exceptions import ActivityError

from counteract.saga.continue_as_new import MEMO, Carried, CarriedRecord, carried_over
from counteract.saga.dispatcher import Dispatcher
from counteract.saga.failure import Interruption
from counteract.saga.lookups import Lookups
from counteract.saga.run import SagaRun
from counteract.saga.tasks import in_a_task_of_its_own
from counteract.saga.workflow import SagaWorkflow

_PAST_PIVOT = ("past the pivot", "completed")

# The old branch can go once no run is kept that continued a saga on a release without it, and ended, or was stopped,
# before it had opened the saga.
_ANSWERED_FOR = "counteract: a saga is answered for before it is opened"
# The old branch can go once no such run is kept that a retry policy had begun anew.
_ASKED = "counteract: the record is asked before a saga is stopped that is not open"
# The old branch can go once no run of a child is kept that opened no saga on a release without it.
_ON_RECORD = "counteract: a child that opens no saga is on record"


def is_unopened(instance: SagaWorkflow) -> bool:
    """Whether the run continues a saga that it has not opened, which then is to be told what becomes of the run."""
    return _is_left_over(instance) and workflow.patched(_ANSWERED_FOR)


def stop(
    instance: SagaWorkflow, body: asyncio.Task[Any] | None, why: Interruption, failure: BaseException | None = None
) -> None:
    """Have the saga stopped as it is opened, and the run's code, if it has begun, before that.

    Neither is where there is no way back.
    """
    instance._stopped_early = instance._stopped_early or (why, failure)
    if instance._saga_run is not None:
        instance._saga_run.interrupt(why, failure)
    if body is not None:
        stop_code(instance, body)


def stop_code(instance: SagaWorkflow, body: asyncio.Task[Any]) -> None:
    """Stop the code that comes before the saga, if the saga is to be undone."""
    if not is_stopped(instance):
        return
    if workflow.info().attempt > 1 and workflow.patched(_ASKED):
        # What the attempts before have done the memo does not say: it is as old as the first of them.
        instance._asking = instance._asking or asyncio.create_task(_stop_unless_past(instance, body))
    else:
        body.cancel()


async def _stop_unless_past(instance: SagaWorkflow, body: asyncio.Task[Any]) -> None:
    dispatcher = Dispatcher.of_this_workflow()
    if (record := carried_over().record) is not None:
        dispatcher.run_id = record.run_id
    try:
        state = await Lookups(dispatcher).state("before the saga is opened")
    except ActivityError:
        state = None
    await in_a_task_of_its_own()
    if state not in _PAST_PIVOT and _is_left_over(instance):
        body.cancel()


def is_stopped(instance: SagaWorkflow) -> bool:
    """Whether the saga is to be undone, as far as the memo says."""
    return instance._stopped_early is not None and not _is_past_pivot()


async def turn_back(instance: SagaWorkflow, failure: BaseException) -> NoReturn:
    """Undo the saga in place of the run's code, which ended without it. Raises what the workflow is to end with."""
    async with instance._saga or instance.saga():
        raise failure


def is_none(instance: SagaWorkflow) -> bool:
    """Whether neither the run nor one before it has opened a saga, and its parent is to be told that on record."""
    carried = _carried()
    return instance._saga_run is None and not (carried.begun or carried.over) and workflow.patched(_ON_RECORD)


async def complete(instance: SagaWorkflow) -> None:
    """Have a saga without steps complete for a child that found nothing to do.

    Its parent believes only a record, and the saga's says so.
    """
    async with instance.saga():
        pass


def handed_on(instance: SagaWorkflow) -> tuple[Carried, CarriedRecord | None]:
    """The state that a run takes along which continues as new, and the record, if it knows one."""
    saga = instance._saga_run
    if saga is not None:
        return saga.carry()
    said = {} if instance._paused_early is None else {"paused": instance._paused_early}
    if not _is_left_over(instance):
        return _carried().model_copy(update=said), None
    # Nobody is shown anything of it: what earlier releases recorded is to be replayed.
    saga = SagaRun(
        Dispatcher.of_this_workflow(), deadline=None, alert_after=timedelta(minutes=10), earlier=carried_over()
    )
    if instance._stopped_early:
        saga.interrupt(*instance._stopped_early)
    carried, record = saga.carry()
    return carried.model_copy(update=said), record


def _is_left_over(instance: SagaWorkflow) -> bool:
    has_been_opened = instance._saga_run is not None and instance._saga_run.has_been_opened
    return not has_been_opened and _carried().begun


def _carried() -> Carried:
    carried: Carried = workflow.memo_value(MEMO, Carried(), type_hint=Carried)
    return carried


def _is_past_pivot() -> bool:
    earlier = carried_over()
    is_known = earlier.record is not None and earlier.record.state in _PAST_PIVOT
    return is_known or earlier.ledger().pivot is not None

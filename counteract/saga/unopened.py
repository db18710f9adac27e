"""A saga that this run continues, and whose code has yet to open it: what stops the run, or fails it, is the saga's concern already."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

from temporalio import workflow

from counteract.saga.carrying import MEMO, Carried, CarriedRecord, carried_over
from counteract.saga.dispatching import Dispatcher
from counteract.saga.failing import Interruption
from counteract.saga.saga import Saga
from counteract.saga.workflow import SagaWorkflow

# The old branch can go once no run is kept that continued a saga on a release without it, and ended, or was stopped, before it had
# opened the saga.
_ANSWERED_FOR = "counteract: a saga is answered for before it is opened"


def is_unopened(instance: SagaWorkflow) -> bool:
    """What becomes of the run is to be told to the saga."""
    return _is_left_over(instance) and workflow.patched(_ANSWERED_FOR)


def stop(instance: SagaWorkflow, why: Interruption, failure: BaseException | None = None) -> bool:
    """Have the saga stopped as it is opened, and say whether the run's code is to stop before: not where there is no way back."""
    instance._stopped_early = instance._stopped_early or (why, failure)
    if instance._saga is not None:
        instance._saga.interrupt(why, failure)
    return is_stopped(instance)


def is_stopped(instance: SagaWorkflow) -> bool:
    """Whether it is to be undone."""
    return instance._stopped_early is not None and not _is_past_pivot()


async def turn_back(instance: SagaWorkflow, failure: BaseException) -> NoReturn:
    """In the place of the run's code, which has ended without it."""
    async with instance._saga or instance.saga():
        raise failure


def handed_on(instance: SagaWorkflow) -> tuple[Carried, CarriedRecord | None]:
    """What a run takes along that continues as new."""
    saga = instance._saga
    if saga is not None:
        return saga.carry()
    said = {} if instance._paused_early is None else {"paused": instance._paused_early}
    if not _is_left_over(instance):
        return _carried().model_copy(update=said), None
    # Nobody is shown anything of it: what earlier releases recorded is to be replayed.
    saga = Saga(Dispatcher.of_this_workflow(), deadline=None, alert_after=timedelta(minutes=10), earlier=carried_over())
    if instance._stopped_early:
        saga.interrupt(*instance._stopped_early)
    carried, record = saga.carry()
    return carried.model_copy(update=said), record


def _is_left_over(instance: SagaWorkflow) -> bool:
    has_been_opened = instance._saga is not None and instance._saga.has_been_opened
    return not has_been_opened and _carried().begun


def _carried() -> Carried:
    carried: Carried = workflow.memo_value(MEMO, Carried(), type_hint=Carried)
    return carried


def _is_past_pivot() -> bool:
    earlier = carried_over()
    is_known = earlier.record is not None and earlier.record.state in ("past the pivot", "completed")
    return is_known or earlier.ledger().pivot is not None

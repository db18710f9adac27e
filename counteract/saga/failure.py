"""The meaning of what a saga's own code raises, and what the saga's workflow ends with."""

from __future__ import annotations

import asyncio
from enum import StrEnum

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.workflow import ContinueAsNewError

from counteract.errors import RecordSaysOtherwise, SagaClosed, SagaContradicted, SagaHasCompleted, SagaIncomplete
from counteract.saga.answers import says_otherwise
from counteract.saga.converter import COMPENSATED
from counteract.saga.report import SagaReport, SagaStatus
from counteract.saga.words import describe as describe  # noqa: PLC0414 - part of what a failure means


class Interruption(StrEnum):
    """Why a saga stops going forward although no step failed that its code waits for."""

    CANCELLED = "cancelled"
    DEADLINE = "deadline passed"
    HANDLER = "a signal's handler failed"


def is_saga_failure(error: BaseException) -> bool:
    """Whether the saga is undone for what its code raised: neither a bug nor the end of the coroutine itself.

    The latter comes where the worker drops a workflow that was terminated.
    """
    if isinstance(error, asyncio.CancelledError):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_saga_failure, error.exceptions))
    return isinstance(error, Exception) and workflow.is_failure_exception(error)


def first(failure: BaseException | None) -> BaseException | None:
    """The first of the failures that a task group collected; any other failure itself."""
    return first(failure.exceptions[0]) if isinstance(failure, BaseExceptionGroup) else failure


def told_by(failure: BaseException) -> BaseException:
    """Of the failures that a task group collected, the one that says most: that a step came too late may follow from another's failure."""
    if not isinstance(failure, BaseExceptionGroup):
        return failure
    members = [told_by(each) for each in failure.exceptions]
    return next((each for each in members if not isinstance(each, SagaClosed)), members[0])


def is_passed_over(failure: BaseException) -> bool:
    """Whether the SDK would take no notice of it, and have the workflow open for ever without anything to do: it is no failure, no
    error of the code's, no end that the SDK has asked for.
    """
    if isinstance(failure, ExceptionGroup) or not isinstance(failure, BaseExceptionGroup):
        is_known = isinstance(failure, Exception | asyncio.CancelledError | GeneratorExit)
        return not is_known and not type(failure).__module__.startswith("temporalio.")
    return all(map(_is_no_eviction, failure.exceptions))


def _is_no_eviction(failure: BaseException) -> bool:
    return isinstance(failure, Exception | asyncio.CancelledError | ContinueAsNewError) or is_passed_over(failure)


def incomplete(failure: BaseException, *, is_past_pivot: bool) -> SagaIncomplete:
    """The end of a workflow whose own code failed past its saga's pivot, or whose saga was not undone to its end."""
    how = "failed after its pivot, and nothing was undone" if is_past_pivot else "could not be undone to its end"
    ending = SagaIncomplete(f"the saga {how}: {describe(failure)}")
    ending.__cause__ = failure
    ending.is_final = _is_contradicted(failure)
    return ending


def _is_contradicted(failure: BaseException | None) -> bool:
    """Whether the store, or the saga's record in it, says otherwise: it will say so again."""
    if isinstance(failure, BaseExceptionGroup):
        return any(map(_is_contradicted, failure.exceptions))
    if failure is None or isinstance(failure, SagaContradicted | RecordSaysOtherwise):
        return failure is not None
    return says_otherwise(failure) is not None or _is_contradicted(failure.__cause__)


def completed_before(failure: BaseException) -> SagaHasCompleted:
    """The end of a workflow whose saga had completed, on record, before its code went another way."""
    ending = SagaHasCompleted(f"the saga had completed when its code was to end otherwise: {describe(failure)}")
    ending.__cause__ = failure
    return ending


def not_completed(report: SagaReport) -> Exception:
    """The end of a child saga's workflow whose code returned a result, though the saga did not complete."""
    if report.status is not SagaStatus.COMPENSATED:
        # Its parent must not take it for one of which nothing is left.
        return SagaIncomplete(f"the saga did not complete: {report.cause}")
    return ApplicationError(
        f"the saga did not complete: {report.cause}",
        report,
        type=COMPENSATED,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


def undone(interruption: Interruption | None, failure: BaseException, report: SagaReport) -> BaseException:
    """The end of a workflow whose saga was undone."""
    if interruption is Interruption.CANCELLED:
        return asyncio.CancelledError("the saga was undone")
    ending = ApplicationError(
        f"the saga was undone: {report.cause}",
        report,
        type=COMPENSATED,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )
    ending.__cause__ = TimeoutError(report.cause) if isinstance(failure, asyncio.CancelledError) else failure
    return ending

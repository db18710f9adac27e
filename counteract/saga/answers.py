"""Answers to steps: the result of an activity, read as its command declares it, or the meaning of its failure."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from counteract.errors import RecordSaysOtherwise, RefusalInDoubt, Rejected, StepFailed
from counteract.messages import Message
from counteract.saga.ledger import Step
from counteract.saga.words import in_own_words

R = TypeVar("R")


class Settled(Message, Generic[R]):
    """The finding of the fence, and for an external pivot of the provider, about one that ended without an answer."""

    happened: bool
    result: R | None = None


class UnreadableAnswer(StepFailed):
    """Something else came back than the command declares. The step may have happened; asking again brings the same."""


def answer_of(step: Step, raw: RawValue) -> Any:
    """The result of a forward step. Raises UnreadableAnswer."""
    return _read(step, raw, step.command.spec.result_type)


def settlement_of(pivot: Step, raw: RawValue) -> Settled[Any]:
    """The finding about a pivot. Raises UnreadableAnswer."""
    settled: Settled[Any] = _read(pivot, raw, Settled[pivot.command.spec.result_type])  # type: ignore[name-defined]
    return settled


def completion_of(step: Step, raw: RawValue) -> bool:
    """Whether a child saga has completed. Raises UnreadableAnswer."""
    return bool(_read(step, raw, bool))


def failure_of(step: Step, error: ActivityError | StepFailed) -> Rejected | StepFailed:
    """Rejected for a refusal, which proves that nothing happened; StepFailed for all else, which proves nothing."""
    if isinstance(error, StepFailed):
        return error
    cause = error.cause
    refusals = (Rejected.__name__, RefusalInDoubt.__name__)
    if not (isinstance(cause, ApplicationError) and cause.type in refusals and cause.details):
        return StepFailed(step.key, in_own_words(cause or error))
    said = cause.details[0]
    refusal = Rejected(said["reason"], **said["data"])
    if cause.type == Rejected.__name__:
        return refusal
    return StepFailed(step.key, in_own_words(cause), refusal=refusal)


def says_otherwise(error: BaseException | None) -> str | None:
    """The state of the saga's record, where that is why a step was refused; else None."""
    cause = error.cause if isinstance(error, ActivityError) else None
    if isinstance(cause, ApplicationError) and cause.type == RecordSaysOtherwise.__name__ and cause.details:
        return str(cause.details[0])
    return None


def is_final(error: ActivityError | StepFailed) -> bool:
    """Whether trying again is of no use: the worker said so, or the answer cannot be read."""
    if isinstance(error, StepFailed):
        return isinstance(error, UnreadableAnswer)
    cause = error.cause
    return isinstance(cause, ApplicationError) and cause.non_retryable


def _read(step: Step, raw: RawValue, kind: Any) -> Any:
    try:
        return workflow.payload_converter().from_payload(raw.payload, kind)
    except Exception as error:
        raise UnreadableAnswer(step.key, f"its answer cannot be read: {in_own_words(error)}") from error

"""What came back of a step: the answer of its activity read as the command declares it, or what its failure means."""

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
    """What the fence (and the provider, for an external pivot) says of a pivot that ended without an answer."""

    happened: bool
    result: R | None = None


class UnreadableAnswer(StepFailed):
    """What came back is not what the command declares. The step may have happened; asking again brings the same."""


def answer_of(step: Step, raw: RawValue) -> Any:
    """A forward step's result. Raises UnreadableAnswer."""
    return _read(step, raw, step.command.spec.result_type)


def settlement_of(pivot: Step, raw: RawValue) -> Settled[Any]:
    """What was found out about a pivot. Raises UnreadableAnswer."""
    settled: Settled[Any] = _read(pivot, raw, Settled[pivot.command.spec.result_type])  # type: ignore[name-defined]
    return settled


def completion_of(step: Step, raw: RawValue) -> bool:
    """What was found out about a child saga."""
    return bool(_read(step, raw, bool))


def failure_of(step: Step, error: ActivityError | StepFailed) -> Rejected | StepFailed:
    """A refusal, which proves that nothing happened, or anything else, which proves nothing."""
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
    """The state of the saga's record, where that is why a step was refused."""
    cause = error.cause if isinstance(error, ActivityError) else None
    if isinstance(cause, ApplicationError) and cause.type == RecordSaysOtherwise.__name__ and cause.details:
        return str(cause.details[0])
    return None


def is_final(error: ActivityError | StepFailed) -> bool:
    """The worker said that trying again is of no use."""
    if isinstance(error, StepFailed):
        return isinstance(error, UnreadableAnswer)
    cause = error.cause
    return isinstance(cause, ApplicationError) and cause.non_retryable


def _read(step: Step, raw: RawValue, kind: Any) -> Any:
    try:
        return workflow.payload_converter().from_payload(raw.payload, kind)
    except Exception as error:
        raise UnreadableAnswer(step.key, f"its answer cannot be read: {in_own_words(error)}") from error

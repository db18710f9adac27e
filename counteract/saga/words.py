"""Words for failures, in a saga's report and on record: its own, and never those of a stranger's exception."""

from __future__ import annotations

from pydantic import ValidationError
from temporalio.exceptions import ApplicationError, ChildWorkflowError, FailureError

from counteract.errors import (
    AppendTooLarge,
    CommandFenced,
    CommandIdReused,
    InvalidEvent,
    RecordSaysOtherwise,
    RefusalInDoubt,
    UnreadableCommand,
)
from counteract.saga.converter import PAYLOAD_INVALID
from counteract.storable import invalid, storable_text

_WRONG_RESULT = "WrongResult"
_ENGINES = (
    CommandFenced,
    CommandIdReused,
    InvalidEvent,
    AppendTooLarge,
    RecordSaysOtherwise,
    RefusalInDoubt,
    UnreadableCommand,
)
_THE_ENGINES = {PAYLOAD_INVALID, _WRONG_RESULT, *(each.__name__ for each in _ENGINES)}
"""Types of failures whose text the engine wrote."""


def describe(failure: BaseException) -> str:
    """The reason why a saga does not go forward, storable: in the words of its own code, but never in a handler's."""
    if isinstance(failure, ValidationError):
        return storable_text(invalid(failure))
    if isinstance(failure, FailureError) and not isinstance(failure, ApplicationError):
        return storable_text(in_own_words(failure))
    return storable_text(str(failure)) or type(failure).__name__


def in_own_words(failure: BaseException) -> str:
    """The failure of an activity or a child: the type of what it raised, and the text only if it is the engine's.

    The text of any other exception can hold anything. It is in the worker's log, at the level DEBUG.
    """
    if isinstance(failure, ValidationError):
        return storable_text(invalid(failure))
    if isinstance(failure, ApplicationError):
        name = failure.type or ""
        if name in _THE_ENGINES:
            return storable_text(f"{name}: {failure.message}")
        # What the server itself says, of a time limit for instance, has another class.
        return storable_text(f"{ApplicationError.__name__}: {name}" if name else ApplicationError.__name__)
    if isinstance(failure, FailureError) and failure.cause is not None and not isinstance(failure, ChildWorkflowError):
        return in_own_words(failure.cause)
    name = type(failure).__name__
    return storable_text(f"{name}: {failure}") if isinstance(failure, FailureError) else name

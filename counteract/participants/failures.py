"""Exceptions of handlers as Temporal is told of them: a history keeps them, for whoever may look at the saga.

An exception that is raised on purpose keeps its words: a refusal, an error of the engine's, a failure of Temporal's
own. Any other one tells its type and its place, with the traceback; its text can hold anything, and goes to the
worker's log at the level DEBUG.
"""

from __future__ import annotations

import logging

from temporalio.exceptions import ApplicationError, FailureError

from counteract.errors import CounteractError
from counteract.reasons import own_words, untold
from counteract.store.postgres.error_texts import kind_of, objection

_logger = logging.getLogger("counteract.participants")


def tellable(error: Exception, activity: str) -> Exception:
    """The exception to raise in place of one that an activity raised."""
    cause = untold(error.__cause__, objection) if error.__cause__ else None
    if isinstance(error, CounteractError | FailureError):
        error.__cause__ = cause
        return error
    _logger.debug("what %s raised", activity, exc_info=error)
    stranger = kind_of(error)
    told = ApplicationError(own_words(stranger, objection), type=type(stranger).__name__)
    told.__traceback__ = error.__traceback__
    told.__cause__ = cause if stranger is error else None
    return told

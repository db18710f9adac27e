"""The judgement of errors: an event that is to blame is parked, anything else is waited for. docs/decisions/0092"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from sqlalchemy.exc import DBAPIError

from counteract import reasons
from counteract.errors import (
    LogCutShort,
    MasterKeyMissing,
    RowsLost,
    RowsOfOtherCode,
    SealedByNewerRelease,
    StoreUnavailable,
    UndecodableEvent,
)
from counteract.store import StoredEvent
from counteract.store.postgres.driver_errors import in_our_terms
from counteract.store.postgres.error_texts import kind_of, objection

# Classes of SQLSTATE. What is missing or may not be done has nothing to do with what an event holds.
_OF_THE_SETUP = ("28", "3D", "3F", "42")


# What a row may be to blame for, alone: its values, or a constraint on them.
_OF_THE_ROW = ("22", "23")


class EverythingFails(Exception):
    """The database refuses all events that were tried, in the same way: no event is to blame."""

    def __init__(self, tried: int, error: Exception) -> None:
        super().__init__(f"all that were tried fail alike ({tried}): {reason(error)}")


_KNOWN = EverythingFails | LogCutShort | RowsLost | RowsOfOtherCode | MasterKeyMissing | SealedByNewerRelease


def is_outage(error: Exception) -> bool:
    """Whether something is down that will be up again, which no event is to blame for."""
    return isinstance(in_our_terms(error) or error, StoreUnavailable | OSError)


def is_waited_for(error: Exception) -> bool:
    """Whether no event is to blame: something is down, the set-up is at fault, or a newer release has to read it."""
    if isinstance(error, UndecodableEvent):
        return error.is_newer
    return isinstance(error, _KNOWN) or is_outage(error) or (_state(error) or "").startswith(_OF_THE_SETUP)


def fail_alike(failed: Sequence[tuple[StoredEvent, Exception]]) -> bool:
    """Whether it seems to be no event's fault, where nothing else was handled: the database refuses all alike.

    What it says of values and constraints counts as a row's own fault where only one was tried. Errors of the handlers'
    own never count: other code will do better, and has what was parked redriven.
    """
    states = {_state(error) for _, error in failed}
    if len(states) != 1 or not (state := states.pop()):
        return False
    return len(failed) > 1 or not state.startswith(_OF_THE_ROW)


def reason(error: BaseException) -> str:
    """One line about an error, without anything that is in an event or in a row."""
    return reasons.reason(kind_of(error), objection)


def _state(error: BaseException | None) -> str | None:
    """The SQLSTATE that the database gives, also behind an error of ours; None where it gives none."""
    while error is not None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, psycopg.Error):
            return cause.sqlstate
        error = error.__cause__
    return None

"""The driver's errors and the store's: each is translated here, and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as EngineTimeout

from counteract.errors import (
    AppendTooLarge,
    BoundaryChanged,
    CheckpointPassed,
    EventIdReused,
    InlineProjectionMissing,
    InvalidEvent,
    RecordSaysOtherwise,
    SchemaOutdated,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
    WrongExpectedVersion,
)
from counteract.messages import StreamId
from counteract.store.expect import Expect
from counteract.store.postgres.error_texts import objection

EVENT_ID_KEY = "events_event_id_key"
VERSION_KEY = "events_aggregate_type_aggregate_id_version_key"
POSITION_KEY = "events_pkey"

_MIGRATE = "run `counteract migrate`"
_NEVER_CONNECTED = ("connection failed", "connection is bad", "failed to resolve")
_UNKNOWN = "whether a write took effect is unknown, so repeat it with the same event ids"
# The values of a key in the server's detail, in whatever language it writes.
_VERSION_KEY_VALUES = re.compile(r"\)=\((.*?), (.*), (\d+)\)", re.DOTALL)

# Errors by SQLSTATE, else by its class (the first two characters).
_BY_STATE: dict[str, tuple[type[StoreError], str]] = {
    "08": (StoreUnavailable, "the connection was lost"),
    "25P03": (StoreUnavailable, "a transaction was idle for too long"),
    "25P04": (
        StoreUnavailable,
        "a transaction took longer than transaction_timeout lets it, which the server, the database or the role sets",
    ),
    "40": (StoreUnavailable, "the transaction stood in another's way"),
    "53": (StoreUnavailable, "the server is short of resources"),
    "53100": (
        StoreUnavailable,
        "the server's disk is full, nothing was written, and nothing will be until it has room",
    ),
    "55P03": (StoreUnavailable, "a lock was not free in time"),
    "57": (StoreUnavailable, "the server ended the statement or the connection"),
    "57014": (StoreUnavailable, "it took longer than the server lets a statement run: give it less at once"),
    "58": (StoreUnavailable, "the server has a system error"),
    "22": (InvalidEvent, "PostgreSQL cannot store this"),
    "54": (InvalidEvent, "this goes beyond a limit of PostgreSQL"),
    "25006": (
        StoreReadOnly,
        "the database takes no writes: connect to the primary server (several hosts and target_session_attrs=read-write "
        "in the URL find it), or wait for the end of its maintenance",
    ),
    "2B": (StoreError, "something depends on it: drop that first"),
    "42501": (StoreError, "the role that you connect as may not do this"),
    "42P01": (SchemaOutdated, _MIGRATE),
    "42703": (SchemaOutdated, _MIGRATE),
    "42883": (SchemaOutdated, _MIGRATE),
    "CA003": (AppendTooLarge, "split it"),
    "CA005": (StoreError, "have a superuser run `create role counteract_app login`, then migrate"),
    "CA011": (
        StoreError,
        "nothing may be archived that a subscription has yet to read: let it read on, or, if there is no such subscription any more, "
        "`counteract projections drop` it or delete its row from `subscriptions`",
    ),
    "CA012": (StoreError, "the store does not hold what the archive does: archive to another file"),
    "CA021": (StoreError, "prune later"),
    "CA022": (StoreError, "nothing was undone"),
    "CA": (StoreError, "refused"),
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise the store's errors in place of the driver's. Errors that nobody expects pass through as they are."""
    try:
        yield
    except (psycopg.Error, DBAPIError, EngineTimeout) as error:
        ours = in_our_terms(error)
        if ours is None:
            raise
        raise ours from error


def in_our_terms(error: BaseException) -> StoreError | None:
    """The store's error for one that the driver, its pool or SQLAlchemy raised; None for any other."""
    if isinstance(error, PoolTimeout | PoolClosed | EngineTimeout):
        return StoreUnavailable(f"no connection to the database: {error}; retry")
    cause = error.orig if isinstance(error, DBAPIError) else error
    return translate(cause) if isinstance(cause, psycopg.Error) else None


def translate(error: psycopg.Error) -> StoreError | None:
    """The store's error for one of the driver's; None if callers can do nothing about it."""
    state = error.sqlstate
    if state is None:
        return _without_state(error)
    if state == "CA001":
        return _wrong_version(error)
    if state == "CA002":
        return _reused(error)
    if state == "23505":
        return _duplicate(error)
    if state in ("CA013", "CA014", "CA015", "CA020"):
        return _detailed(state, error)
    kind, advice = _BY_STATE.get(state) or _BY_STATE.get(state[:2]) or (None, "")
    return kind(f"{advice}: {objection(error)}" + _retry(kind)) if kind else None


def _duplicate(error: psycopg.Error) -> StoreError | None:
    key = error.diag.constraint_name
    if key == EVENT_ID_KEY:
        return _reused(error)
    if key == POSITION_KEY:
        return SchemaOutdated(f"the sequence of positions is behind the log: {_MIGRATE}")
    return _version_taken(error) if key == VERSION_KEY else None


def _reused(error: psycopg.Error) -> EventIdReused:
    return EventIdReused(f"{_primary(error)}: give a new event an id of its own")


def _detailed(state: str, error: psycopg.Error) -> StoreError:
    detail = json.loads(error.diag.message_detail or "{}")
    if state == "CA020":
        return RecordSaysOtherwise(_primary(error), detail["state"])
    if state == "CA014":
        return BoundaryChanged(detail["position"])
    if state == "CA015":
        return CheckpointPassed(detail["name"], detail["position"])
    return InlineProjectionMissing(detail["name"])


def _without_state(error: psycopg.Error) -> StoreError | None:
    """The store's error for one that the driver itself raised: it lost the connection, or did not
    even begin to send.
    """
    if isinstance(error, psycopg.OperationalError):
        return _without_connection(error)
    return InvalidEvent(str(error)) if isinstance(error, psycopg.DataError) else None


def _without_connection(error: psycopg.OperationalError) -> StoreUnavailable:
    # The driver puts the server's lines together, with tabs.
    reason = " ".join(str(error).split())
    if isinstance(error, psycopg.errors.ConnectionTimeout) or reason.startswith(_NEVER_CONNECTED):
        return StoreUnavailable(
            f"the database cannot be reached: {reason}; retry, and correct its URL if this stays so"
        )
    return StoreUnavailable(f"the connection was lost: {reason}; {_UNKNOWN}")


def _wrong_version(error: psycopg.Error) -> WrongExpectedVersion:
    detail = json.loads(error.diag.message_detail or "{}")
    return WrongExpectedVersion(
        StreamId(detail["aggregate_type"], detail["aggregate_id"]),
        expected=str(Expect(detail["least"], detail["most"])),
        actual=detail["actual"],
    )


def _version_taken(error: psycopg.Error) -> WrongExpectedVersion | None:
    """The error of an import and an append that met in a stream: they take no turns, and the key lets one of them
    through.
    """
    found = _VERSION_KEY_VALUES.search(error.diag.message_detail or "")
    if found is None:
        return None
    version = int(found[3])
    return WrongExpectedVersion(StreamId(found[1], found[2]), expected=f"version {version - 1}", actual=version)


def _primary(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)


def _retry(kind: type[StoreError]) -> str:
    return "; retry" if issubclass(kind, StoreUnavailable) else ""

"""Turns and locks of a migration: it asks for its locks for a short time, and again, so that the store stays in use."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable, SerializationFailure
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from counteract.errors import StoreUnavailable

T = TypeVar("T")

PATIENCE = 600.0
"""Seconds that a migration waits for locks, or for another migration, before it gives up."""
LOCK_TIMEOUT = "1200ms"
"""The longest that appends wait behind a migration that waits for a lock.

It is longer than deadlock_timeout is by default, after which an autovacuum makes way.
"""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 3.0
_LOST = (LockNotAvailable, DeadlockDetected, SerializationFailure)

# Settings in place of those that the server, the database or the role has for everyday use. Functions fix the
# search_path of this session, which finds the owner's tables alone: a caller's path, temporary tables included, must
# not put others before them. transaction_timeout came with PostgreSQL 17.
SETTINGS = {
    "default_transaction_isolation": "read committed",
    "lock_timeout": LOCK_TIMEOUT,
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "client_min_messages": "warning",
}
_SET = text("select set_config(:name, :value, false) from pg_settings where name = :name")
_PATH = text("select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false)")
# Any number will do that nothing else uses. The lock is tried and not waited for: a statement that waits holds up
# others that build an index beside writers.
_TAKE = text("select pg_try_advisory_lock(7203480152)")
_GIVE_BACK = text("select pg_advisory_unlock(7203480152)")


def settle_session(connection: Connection) -> None:
    """Give the connection the settings that a migration needs."""
    with connection.begin():
        for name, value in SETTINGS.items():
            connection.execute(_SET, {"name": name, "value": value})
        connection.execute(_PATH)


def header(connection: Connection) -> str:
    """The settings as SQL, for a script that is run in another session."""
    with connection.begin():
        names = connection.scalars(
            text("select name from pg_settings where name = any (:names)"), {"names": list(SETTINGS)}
        )
        known = {*names}
        path = connection.scalar(text("select current_setting('search_path')"))
    settings = [f"set {name} = '{value}';" for name, value in SETTINGS.items() if name in known]
    return "\n".join(
        ["-- For psql -v ON_ERROR_STOP=1, as the owner of the database.", *settings, f"set search_path = {path};", ""]
    )


@contextmanager
def in_turn(connection: Connection, patience: float) -> Iterator[None]:
    """The turn of this migration: no other runs until the context ends. Raises StoreUnavailable after `patience`
    seconds.
    """
    deadline = time.monotonic() + patience
    while not _taken(connection):
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"another migration has been under way for more than {patience:g} s; retry")
        time.sleep(random.uniform(0.1, 0.3))  # noqa: S311 - jitter, no secret
    try:
        yield
    finally:
        connection.rollback()
        with connection.begin():
            connection.execute(_GIVE_BACK)


def _taken(connection: Connection) -> bool:
    with connection.begin():
        return bool(connection.scalar(_TAKE))


def retried(run: Callable[[], T], patience: float) -> T:
    """Run, and again until the needed locks are free; what `run` returns. Raises StoreUnavailable after `patience`
    seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return run()
        except (DBAPIError, psycopg.Error) as error:
            if not _is_in_the_way(error):
                raise
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"somebody has held a lock for more than {patience:g} s that the migration needs: see `counteract doctor`, "
                    "and retry"
                ) from error
        time.sleep(random.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE))  # noqa: S311 - jitter, no secret


def _is_in_the_way(error: Exception) -> bool:
    return isinstance(error.orig if isinstance(error, DBAPIError) else error, _LOST)

"""Objections of the database, in words without the values that its errors may quote."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError

# The classes of SQLSTATE in which the server's own sentence names tables, columns and constraints at most. Errors of
# other classes quote what they could not read, or say what somebody's function told them to; and a detail is a whole
# row.
_NAME_NO_VALUES = (
    "08",
    "0A",
    "23",
    "25",
    "26",
    "28",
    "2B",
    "3D",
    "3F",
    "40",
    "42",
    "53",
    "54",
    "55",
    "57",
    "58",
    "CA",
    "XX",
)
_QUOTES_THE_STATEMENT = "42601"
_NAMED = (
    ("column", "column_name"),
    ("of the table", "table_name"),
    ("by the constraint", "constraint_name"),
    ("of the type", "datatype_name"),
)


def objection(error: BaseException) -> str | None:
    """The server's sentence if it is safe, else the names that it gives; None for an error that is
    not the database's.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return None
    state = cause.sqlstate or ""
    if state == _QUOTES_THE_STATEMENT or not state.startswith(_NAME_NO_VALUES):
        names = [f"{what} {name}" for what, where in _NAMED if (name := getattr(cause.diag, where))]
        return " ".join([f"SQLSTATE {state}" if state else "said by the driver", *names])
    return cause.diag.message_primary or f"SQLSTATE {state}"


def kind_of(error: BaseException) -> BaseException:
    """The driver's own error, where SQLAlchemy has wrapped it; any other error as it is."""
    return error.orig if isinstance(error, DBAPIError) and isinstance(error.orig, BaseException) else error

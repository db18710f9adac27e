"""Names of tables and views, which may hold anything that PostgreSQL lets them hold."""

from __future__ import annotations

from collections.abc import Iterator

MOST_BYTES = 63
"""The most bytes of a name: PostgreSQL would cut a longer one, and two names might become one."""


def identifier_problems(name: str) -> Iterator[str]:
    """The problems that keep a name from being a table's."""
    if not name:
        yield "it has no name: give it one"
    elif "\x00" in name:
        yield "its name holds U+0000: leave that out"
    elif (size := len(name.encode(errors="replace"))) > MOST_BYTES:
        yield f"its name has {size} bytes, and PostgreSQL takes {MOST_BYTES} for a table's: give it a shorter one"


def quoted(*parts: str) -> str:
    """The name as SQL, its parts with dots between.

    It is for the driver: SQLAlchemy's own quoting doubles each % for a driver that fills in parameters.
    """
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def plain(statement: str) -> str:
    """The statement for `exec_driver_sql`, which takes a % for the beginning of a parameter."""
    return statement.replace("%", "%%")

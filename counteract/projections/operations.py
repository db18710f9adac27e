"""Operations: what a projection does to its rows.

A key is a value, or a tuple in the order of the table's primary key columns. It is brought to the types of its columns:
a UUID and its text are one row of a column of UUIDs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from sqlalchemy import Table
from sqlalchemy.sql.dml import UpdateBase

from counteract.messages import Event
from counteract.store import EventDecoder, StoredEvent


class Put(msgspec.Struct, frozen=True):
    """The row is this from now on, whether there was one or not. Columns that it does not name get their defaults."""

    key: Any
    row: Mapping[str, Any]


class Patch(msgspec.Struct, frozen=True):
    """These fields of the row change. Where there is no row, nothing happens."""

    key: Any
    fields: Mapping[str, Any]


class Delete(msgspec.Struct, frozen=True):
    """There is no such row from now on."""

    key: Any


class Increment(msgspec.Struct, frozen=True):
    """A number grows, or with a negative `by` shrinks. Where there is no row, one is made of the columns' defaults.

    Null counts as 0.
    """

    key: Any
    field: str
    by: Any = 1


Operation = Put | Patch | Delete | Increment
"""The result of a handler, or one of several that it yields: one change of one row, found by its key."""

Effect = Operation | UpdateBase
"""An operation, or a statement on the projection's table.

A statement is SQLAlchemy's insert, update or delete, for changes that operations cannot express. It may read that table
and no other, takes a round trip of its own, and needs rows in PostgreSQL.
"""


class Declared(Protocol):
    """A declared projection, as far as those need it who keep its rows: they do not import the declaration."""

    @property
    def name(self) -> str:
        """The name of its checkpoint."""

    @property
    def table(self) -> Table:
        """The table of its rows."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the code that makes its rows."""

    @property
    def decoder(self) -> EventDecoder[Event]:
        """Reads the events that have handlers."""

    def operations_of(self, events: Iterable[StoredEvent]) -> Iterable[Effect]:
        """The effects of events on the rows, in their order."""

"""The writer of a projection's table: changes of rows as a few bulk statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    CHAR,
    VARCHAR,
    Column,
    FromClause,
    String,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Executable
from sqlalchemy.types import TypeEngine

from counteract.projections.coalescing import Adjusted, Change, Removed, Replaced, Row, increased

# A statement, and the parameters of each of its executions.
Bulk = tuple[Executable, list[dict[str, Any]]]


class TableWriter:
    """Writes to one table. It raises nothing of its own: where the table refuses a row, the database's error comes
    through.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._key = [column.name for column in table.primary_key.columns]
        self.blank: Row = {
            column.name: getattr(column.default, "arg", None) for column in table.columns if not column.primary_key
        }
        # An array of arrays would come out of unnest() as one row for each element.
        self._at_once = not any(isinstance(column.type, ARRAY) for column in table.columns)

    async def write(self, connection: AsyncConnection, changes: Mapping[Any, Change]) -> None:
        """Write one change for each row."""
        for statement, parameters in self.bulks(changes):
            await connection.execute(statement, parameters)

    def bulks(self, changes: Mapping[Any, Change]) -> Iterable[Bulk]:
        """The statements for the changes: one for each kind of change and set of fields.

        Each row has one change, so the order between rows is free.
        """
        # Always in the same order, so that two processes that write the same rows seldom wait for each other in a
        # circle.
        changes = {key: changes[key] for key in sorted(changes, key=repr)}
        adjusted = {key: each for key, each in changes.items() if isinstance(each, Adjusted)}
        yield from self._deletes([key for key, each in changes.items() if isinstance(each, Removed)])
        yield from self._replacements({key: each.row for key, each in changes.items() if isinstance(each, Replaced)})
        yield from self._patches({key: each.patched for key, each in adjusted.items() if each.patched})
        yield from self._increments({key: each for key, each in adjusted.items() if each.creates})

    def _deletes(self, keys: Sequence[Any]) -> Iterable[Bulk]:
        if keys:
            given = self._given(())
            yield delete(self._table).where(*self._same_key(given)), self._parameters({key: {} for key in keys}, ())

    def _replacements(self, rows: Mapping[Any, Row]) -> Iterable[Bulk]:
        if not rows:
            return
        names = tuple(self.blank)
        statement = self._insert(names)
        new = {name: statement.excluded[name] for name in names}
        yield (
            statement.on_conflict_do_update(index_elements=self._key, set_=new)
            if new
            else statement.on_conflict_do_nothing(),
            self._parameters(rows, names),
        )

    def _patches(self, patches: Mapping[Any, Row]) -> Iterable[Bulk]:
        by_fields = defaultdict[tuple[str, ...], dict[Any, Row]](dict)
        for key, fields in patches.items():
            by_fields[tuple(sorted(fields))][key] = fields
        for names, rows in by_fields.items():
            given = self._given(names)
            new = {name: given.c[name] for name in names}
            yield update(self._table).where(*self._same_key(given)).values(new), self._parameters(rows, names)

    def _increments(self, adjusted: Mapping[Any, Adjusted]) -> Iterable[Bulk]:
        by_fields = defaultdict[tuple[tuple[str, ...], tuple[str, ...]], dict[Any, Row]](dict)
        for key, change in adjusted.items():
            shape = (tuple(sorted(change.added)), tuple(sorted(change.fields)))
            by_fields[shape][key] = {**increased(self.blank, change.added), **change.fields}
        for (added, fields), rows in by_fields.items():
            yield self._increment(added, fields), self._parameters(rows, tuple(self.blank))

    def _increment(self, added: Sequence[str], fields: Sequence[str]) -> Executable:
        statement = self._insert(tuple(self.blank))
        # The database adds to the value that is there: right even when others add to the same row.
        new = {name: func.coalesce(self._table.c[name], 0) + self._by(statement, name) for name in added}
        return statement.on_conflict_do_update(
            index_elements=self._key, set_=new | {name: statement.excluded[name] for name in fields}
        )

    def _by(self, statement: Insert, name: str) -> Any:
        """The amount to add: the column of a new row, without its default."""
        return statement.excluded[name] - self.blank[name] if self.blank[name] else statement.excluded[name]

    def _insert(self, names: Sequence[str]) -> Insert:
        given = self._given(names)
        columns = [*self._key, *names]
        return insert(self._table).from_select(columns, select(*(given.c[name] for name in columns)))

    def _same_key(self, given: FromClause) -> list[Any]:
        return [self._table.c[name] == given.c[name] for name in self._key]

    def _given(self, names: Sequence[str]) -> FromClause:
        """The rows of a statement as a table: all of them, or one, for each of which it is executed."""
        columns = [self._table.c[name] for name in (*self._key, *names)]
        if self._at_once:
            arrays = [bindparam(f"given_{column.name}", type_=ARRAY(_uncut(column))) for column in columns]
            return func.unnest(*arrays).table_valued(*map(_named, columns), name="given").render_derived()
        values = [cast(bindparam(f"given_{column.name}", type_=column.type), _uncut(column)) for column in columns]
        return select(*(value.label(column.name) for value, column in zip(values, columns, strict=True))).subquery(
            "given"
        )

    def _parameters(self, rows: Mapping[Any, Row], names: Sequence[str]) -> list[dict[str, Any]]:
        """The parameters for `_given`."""
        given = [f"given_{name}" for name in (*self._key, *names)]
        values = ((*_parts(key), *(row[name] for name in names)) for key, row in rows.items())
        if self._at_once:
            return [dict(zip(given, map(list, zip(*values, strict=True)), strict=True))]
        return [dict(zip(given, each, strict=True)) for each in values]


def _named(column: Column[Any]) -> Column[Any]:
    return Column(column.name, column.type)


def _uncut(column: Column[Any]) -> TypeEngine[Any]:
    """A type that casts without cutting: a cast to a text of limited length cuts a longer one, which the column
    refuses.
    """
    return Text() if type(column.type) in {String, VARCHAR, CHAR} else column.type


def _parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)

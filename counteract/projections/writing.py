"""Changes of rows as a few bulk statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Executable

from counteract.projections.coalescing import Adjusted, Change, Removed, Replaced, Row, increased

# A statement, and the parameters of each time that it is executed: the driver sends all of them in one go.
Bulk = tuple[Executable, list[dict[str, Any]]]


class TableWriter:
    """Writes to one table. Raises nothing of its own: a row that the table refuses is the database's error."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._key = [column.name for column in table.primary_key.columns]
        self.blank: Row = {
            column.name: getattr(column.default, "arg", None) for column in table.columns if not column.primary_key
        }

    async def write(self, connection: AsyncConnection, changes: Mapping[Any, Change]) -> None:
        for statement, parameters in self.bulks(changes):
            await connection.execute(statement, parameters)

    def bulks(self, changes: Mapping[Any, Change]) -> Iterable[Bulk]:
        """One for each kind of change and set of fields. Each row has one change, so between rows the order is free."""
        # In one order, so that two who write the same rows seldom wait for each other in a circle.
        changes = {key: changes[key] for key in sorted(changes, key=repr)}
        adjusted = {key: each for key, each in changes.items() if isinstance(each, Adjusted)}
        yield from self._deletes([key for key, each in changes.items() if isinstance(each, Removed)])
        yield from self._replacements({key: each.row for key, each in changes.items() if isinstance(each, Replaced)})
        yield from self._patches({key: each.patched for key, each in adjusted.items() if each.patched})
        yield from self._increments({key: each for key, each in adjusted.items() if each.creates})

    def _deletes(self, keys: Sequence[Any]) -> Iterable[Bulk]:
        if keys:
            yield delete(self._table).where(*self._has_key()), [self._key_parameters(key) for key in keys]

    def _replacements(self, rows: Mapping[Any, Row]) -> Iterable[Bulk]:
        if not rows:
            return
        statement = insert(self._table)
        excluded = {name: statement.excluded[name] for name in self.blank}
        yield (
            statement.on_conflict_do_update(index_elements=self._key, set_=excluded)
            if excluded
            else statement.on_conflict_do_nothing(),
            [{**self._key_values(key), **row} for key, row in rows.items()],
        )

    def _patches(self, patches: Mapping[Any, Row]) -> Iterable[Bulk]:
        by_fields = defaultdict(list)
        for key, fields in patches.items():
            new = {f"new_{name}": value for name, value in fields.items()}
            by_fields[tuple(sorted(fields))].append(self._key_parameters(key) | new)
        for names, parameters in by_fields.items():
            values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
            yield update(self._table).where(*self._has_key()).values(values), parameters

    def _increments(self, adjusted: Mapping[Any, Adjusted]) -> Iterable[Bulk]:
        by_fields = defaultdict(list)
        for key, change in adjusted.items():
            row = {**increased(self.blank, change.added), **change.fields}
            added = {f"by_{name}": by for name, by in change.added.items()}
            shape = (tuple(sorted(change.added)), tuple(sorted(change.fields)))
            by_fields[shape].append({**self._key_values(key), **row, **added})
        for (added_names, names), parameters in by_fields.items():
            yield self._increment(added_names, names), parameters

    def _increment(self, added: Sequence[str], fields: Sequence[str]) -> Executable:
        statement = insert(self._table)
        # Added by the database to what is there: right even when another shard adds to the same row.
        sums = {
            name: func.coalesce(self._table.c[name], 0) + bindparam(f"by_{name}", type_=self._table.c[name].type)
            for name in added
        }
        return statement.on_conflict_do_update(
            index_elements=self._key, set_=sums | {name: statement.excluded[name] for name in fields}
        )

    def _has_key(self) -> list[Any]:
        return [self._table.c[name] == bindparam(f"key_{name}") for name in self._key]

    def _key_parameters(self, key: Any) -> dict[str, Any]:
        return {f"key_{name}": value for name, value in self._key_values(key).items()}

    def _key_values(self, key: Any) -> dict[str, Any]:
        return dict(zip(self._key, key if isinstance(key, tuple) else (key,), strict=True))

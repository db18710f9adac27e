"""The layout of a projection's rows, for sinks, which write them elsewhere than to a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, assert_never

from pydantic import TypeAdapter
from sqlalchemy import JSON, Column, Table
from sqlalchemy.dialects.postgresql import JSONB

from counteract.projections.coalescing import increased
from counteract.projections.keys import Keys, parts_of
from counteract.projections.operations import Delete, Increment, Operation, Patch, Put

Row = Mapping[str, Any]


class Layout:
    """The name and columns of a projection."""

    def __init__(self, name: str, table: Table) -> None:
        self.name = name
        self.columns: Mapping[str, Column[Any]] = dict(table.columns)
        self._keys = Keys(table)
        self._blank: Row = {
            each.name: getattr(each.default, "arg", None) for each in table.columns if not each.primary_key
        }

    def id_of(self, key: Any) -> str:
        """The id of the row, which is its key as text, however the key is spelled.

        The parts of a key have colons between them, and %3A for their own colons.
        """
        key = key if self._keys.are_spelled(key) else self._keys.spelled(key)
        if len(self._keys.names) == 1:
            return str(key)
        return ":".join(str(part).replace("%", "%25").replace(":", "%3A") for part in key)

    def applied(self, row: Row | None, operations: Iterable[Operation]) -> Row | None:
        """The row after the operations, all of which are of its key; None where there is none then."""
        for operation in operations:
            row = self._applied(row, operation)
        return row

    def to_json(self, row: Row) -> dict[str, bytes]:
        """The JSON text of each field."""
        return {name: self._adapters[name].dump_json(value) for name, value in row.items()}

    def to_document(self, row: Row) -> dict[str, Any]:
        """The value of each field as JSON knows it."""
        return {name: self._adapters[name].dump_python(value, mode="json") for name, value in row.items()}

    def from_json(self, fields: Mapping[str, bytes | str]) -> Row:
        """The row from the text of each field. Fields that are not declared are left out."""
        return {name: self._adapters[name].validate_json(fields[name]) for name in self.columns if name in fields}

    def from_document(self, document: Mapping[str, Any]) -> Row:
        """The row from values as JSON knows them. Fields that are not declared are left out."""
        return {
            name: adapter.validate_python(document[name]) if adapter is _ANY else _parsed(adapter, document[name])
            for name, adapter in self._adapters.items()
            if name in document
        }

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        return {name: _adapter(column) for name, column in self.columns.items()}

    def _applied(self, row: Row | None, operation: Operation) -> Row | None:
        match operation:
            case Put(row=fields):
                return {**self._new(operation.key), **fields}
            case Patch(fields=fields):
                return row and {**row, **fields}
            case Delete():
                return None
            case Increment(field=name, by=by):
                return increased({**self._new(operation.key), **(row or {})}, {name: by})
            case _:
                assert_never(operation)

    def _new(self, key: Any) -> Row:
        return {**dict(zip(self._keys.names, parts_of(key), strict=True)), **self._blank}


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def _adapter(column: Column[Any]) -> TypeAdapter[Any]:
    if isinstance(column.type, JSON | JSONB):
        return _ANY
    try:
        python_type: Any = column.type.python_type
    except NotImplementedError:
        return _ANY
    return TypeAdapter(python_type | None)


def _parsed(adapter: TypeAdapter[Any], value: Any) -> Any:
    # Parsed as JSON text, where a Decimal or a date is a string, which strictness about Python's types would refuse.
    return adapter.validate_json(_ANY.dump_json(value))

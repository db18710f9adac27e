"""Many operations on a row become one change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from sqlalchemy.sql.dml import UpdateBase

from counteract.projections.operations import Delete, Effect, Increment, Operation, Patch, Put

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replaced:
    """The row is this, whatever it was."""

    row: Row


@dataclass(frozen=True, slots=True)
class Removed:
    """The row is gone, if it was there."""


@dataclass(slots=True)
class Adjusted:
    """The row changes from what it was. First it is patched if it is there; then, if `creates`, it is made if it is not.

    It grows in place: an operation more is the usual case, and must cost little.
    """

    patched: dict[str, Any] = field(default_factory=dict)
    creates: bool = False
    added: dict[str, Any] = field(default_factory=dict)
    """Numbers to add."""
    fields: dict[str, Any] = field(default_factory=dict)
    """What changes after the row is sure to be there."""


Change = Replaced | Removed | Adjusted


def runs(effects: Iterable[Effect]) -> Iterator[Sequence[Operation] | UpdateBase]:
    """In order: a statement sees what came before it, so operations are coalesced between statements only."""
    operations: list[Operation] = []
    for effect in effects:
        if not isinstance(effect, UpdateBase):
            operations.append(effect)
            continue
        if operations:
            yield operations
            operations = []
        yield effect
    if operations:
        yield operations


def coalesce(operations: Iterable[Operation], blank: Row) -> dict[Any, Change]:
    """What the operations come to, by key. `blank` is a row of the columns' defaults, without the key."""
    changes: dict[Any, Change] = {}
    for operation in operations:
        key = operation.key
        change = changes.get(key)
        changes[key] = _then(Adjusted() if change is None else change, operation, blank)
    return changes


def _then(change: Change, operation: Operation, blank: Row) -> Change:
    match operation:
        case Increment(field=name, by=by):
            return _increment(change, name, by, blank)
        case Patch(fields=fields):
            return _patch(change, fields)
        case Put(row=row):
            return Replaced({**blank, **row})
        case Delete():
            return Removed()
        case _:
            assert_never(operation)


def _patch(change: Change, fields: Row) -> Change:
    match change:
        case Replaced(row):
            return Replaced({**row, **fields})
        case Removed():
            return change
        case Adjusted(creates=False):
            change.patched |= fields
        case Adjusted():
            for name in fields:
                change.added.pop(name, None)
            change.fields |= fields
        case _:
            assert_never(change)
    return change


def _increment(change: Change, name: str, by: Any, blank: Row) -> Change:
    match change:
        case Adjusted(fields=fields) if name in fields:
            fields[name] = by if fields[name] is None else fields[name] + by
        case Adjusted(added=added):
            change.creates = True
            added[name] = added[name] + by if name in added else by
        case Replaced(row):
            return Replaced(increased(row, {name: by}))
        case Removed():
            return Replaced(increased(blank, {name: by}))
        case _:
            assert_never(change)
    return change


def increased(row: Row, added: Row) -> Row:
    """The row with numbers added; null counts as 0."""
    return {**row, **{name: by if row[name] is None else row[name] + by for name, by in added.items()}}

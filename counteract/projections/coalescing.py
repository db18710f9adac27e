"""Coalescing: the operations of a batch on a row become one change of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, assert_never

import msgspec
from sqlalchemy.sql.dml import UpdateBase

from counteract.projections.operations import Delete, Effect, Increment, Operation, Patch, Put

Row = Mapping[str, Any]


# Without gc: a batch makes thousands of these, and an object that counts towards a collection has the whole heap looked
# through.


class Replaced(msgspec.Struct, frozen=True, gc=False):
    """The row is this one, whatever it was before."""

    row: Row


class Removed(msgspec.Struct, frozen=True, gc=False):
    """The row is gone, if it was there."""


class Adjusted(msgspec.Struct, gc=False):
    """A change of the row that was there: it is patched if it exists; then, if `creates`, it is made if it does not.

    It grows in place: one more operation is the usual case, and must cost little.
    """

    patched: dict[str, Any] = {}
    creates: bool = False
    added: dict[str, Any] = {}
    """Numbers to add to fields."""
    fields: dict[str, Any] = {}
    """Fields that change once the row is sure to be there."""


Change = Replaced | Removed | Adjusted

Changes = Mapping[Any, Change]
"""One change for each row, by its key."""


def coalesced(effects: Iterable[Effect], blank: Row) -> Iterator[Changes | UpdateBase]:
    """Coalesce the effects: operations become one change for each row, up to the next statement.

    A statement sees all changes before it. `blank` is a row of the columns' defaults, without the key.
    """
    changes = dict[Any, Change]()
    for effect in effects:
        if isinstance(effect, UpdateBase):
            if changes:
                yield changes
                changes = {}
            yield effect
            continue
        key = effect.key
        change = changes.get(key)
        changes[key] = _THEN[type(effect)](Adjusted() if change is None else change, effect, blank)
    if changes:
        yield changes


def _put(_: Change, put: Put, blank: Row) -> Change:
    return Replaced({**blank, **put.row})


def _delete(_: Change, __: Delete, ___: Row) -> Change:
    return Removed()


def _patch(change: Change, patch: Patch, _: Row) -> Change:
    fields = patch.fields
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


def _increment(change: Change, increment: Increment, blank: Row) -> Change:
    name, by = increment.field, increment.by
    if isinstance(change, Adjusted):
        known = change.fields if name in change.fields else change.added
        before = known.get(name)
        known[name] = by if before is None else before + by
        change.creates = True
        return change
    row = blank if isinstance(change, Removed) else change.row
    return Replaced(increased(row, {name: by}))


# Chosen by type, and not by one case after another: there is little else to do for each operation.
_THEN: Mapping[type[Operation], Callable[[Change, Any, Row], Change]] = {
    Put: _put,
    Patch: _patch,
    Delete: _delete,
    Increment: _increment,
}


def increased(row: Row, added: Row) -> Row:
    """The row with numbers added; null counts as 0."""
    return {**row, **{name: by if row[name] is None else row[name] + by for name, by in added.items()}}

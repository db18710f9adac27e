"""Operations of projections, drawn at random, and what they come to: each by itself, and all together."""

from __future__ import annotations

from typing import Any, assert_never

from hypothesis import strategies as st

from counteract.projections import Delete, Increment, Operation, Patch, Put
from counteract.projections.coalescing import Adjusted, Change, Removed, Replaced, increased

Row = dict[str, Any]
BLANK: Row = {"name": None, "count": 0, "sum": None}
NAMES = st.sampled_from(["name", "count", "sum"])
VALUES = st.integers(-5, 5)
ROWS = st.dictionaries(NAMES, VALUES)
OPERATIONS = st.one_of(
    st.builds(Put, st.just("a"), ROWS),
    st.builds(Patch, st.just("a"), ROWS),
    st.builds(Delete, st.just("a")),
    st.builds(Increment, st.just("a"), NAMES, VALUES),
)


def one_by_one(row: Row | None, operation: Operation) -> Row | None:
    """What the documentation of each operation says."""
    match operation:
        case Put():
            return {**BLANK, **operation.row}
        case Patch():
            return None if row is None else {**row, **operation.fields}
        case Delete():
            return None
        case Increment(field=name, by=by):
            row = BLANK if row is None else row
            return {**row, name: (row[name] or 0) + by}
        case _:
            assert_never(operation)


def together(row: Row | None, change: Change) -> Row | None:
    """What the statements for a change do."""
    match change:
        case Replaced():
            return dict(change.row)
        case Removed():
            return None
        case Adjusted():
            row = None if row is None else {**row, **change.patched}
            if not change.creates:
                return row
            return {**increased(BLANK if row is None else row, change.added), **change.fields}
        case _:
            assert_never(change)

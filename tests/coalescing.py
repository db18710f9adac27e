"""Operations alone, without a statement between them."""

from __future__ import annotations

from collections.abc import Iterable

from counteract.projections import Operation
from counteract.projections.coalescing import Changes, Row, coalesced


def coalesce(operations: Iterable[Operation], blank: Row) -> Changes:
    changes: Changes = {}
    for each in coalesced(operations, blank):
        assert isinstance(each, dict)
        assert not changes
        changes = each
    return changes

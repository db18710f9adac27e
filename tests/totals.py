"""A projection of one row, over the counters."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Text

from counteract.messages import Recorded
from counteract.projections import Increment, Projection
from tests.counters import Counted, CounterReset


def totals(*, inline: bool = False) -> Projection:
    """What all counters have counted together, in one row."""
    projection = Projection(
        "totals", Column("id", Text, primary_key=True), Column("total", BigInteger, default=0), inline=inline
    )
    projection.ignores(CounterReset)

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Increment:
        return Increment("all", "total", recorded.event.amount)

    return projection

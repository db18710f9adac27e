"""A projection of two shards."""

from __future__ import annotations

import time

from sqlalchemy import BigInteger, Column, Text

from counteract import Recorded
from counteract.projections import Effect, Increment, Patch, Projection
from tests.counters import Counted, CounterReset


def sharded(*, seconds: float = 0.0) -> Projection:
    """How much was counted by each, and the last that was: what two processes could confuse. An event takes `seconds`."""
    projection = Projection(
        "totals",
        Column("counter", Text, primary_key=True),
        Column("total", BigInteger, nullable=False, default=0),
        Column("latest", BigInteger),
        shards=2,
    )

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> list[Effect]:
        time.sleep(seconds)
        name = recorded.stream.aggregate_id
        return [Increment(name, "total", recorded.event.amount), Patch(name, {"latest": recorded.version})]

    projection.ignores(CounterReset)
    return projection

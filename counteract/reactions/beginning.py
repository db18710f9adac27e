"""Where a reaction begins that leaves the past alone.

Everything that is committed after it was first started is to be answered, and nothing from before. The newest position that was
drawn does not part the two: appends that were under way may have lower ones. So it begins at the newest position, once
nothing up to it is under way, and what could not be seen at first and is there by then is given to it as parked events are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.store.connecting import Connection
from counteract.store.high_water_mark import HighWaterMark

_PATIENCE = 5.0
"""Seconds for one attempt: less than a transaction of a subscription may take."""
_FURTHEST_BACK = 100_000
"""Positions. An append that has been open while so many others were made counts as one from before."""

# Nobody has had it yet, and no process has begun it.
_NEW = "name = :name and position = 0 and epoch = 0"
_IS_NEW = text(f"select exists (select from subscriptions where {_NEW})")  # noqa: S608 - a constant
# Of appends that are under way, or were never committed.
_UNSEEN = text("""
    select drawn from generate_series(greatest(cast(:end as bigint) - :back, 0) + 1, :end) as drawn
    where not exists (select from events where position = drawn)
""")
# The epoch says that it has begun, also where the log is empty: its first owner begins epoch 2.
_BEGIN = text(f"update subscriptions set position = :end, epoch = 1 where {_NEW} returning name")  # noqa: S608 - a constant
_HAND_OVER = text("""
    insert into parked_events (subscription, position, aggregate_type, aggregate_id, redrive)
    select :name, position, aggregate_type, aggregate_id, true from events
    where position = any (:positions) and event_type = any (:types)
    on conflict (subscription, position) do nothing
""")


@dataclass(frozen=True, slots=True)
class _Sight:
    """Of the log, when the reaction was first started."""

    end: int
    unseen: Sequence[int]
    """Positions up to the end."""


class Beginning:
    """What one process has seen of the log at the start of a reaction, for as long as it has not begun."""

    def __init__(self, name: str, event_types: Collection[str]) -> None:
        self._name = name
        self._event_types = sorted(event_types)
        self._sight: _Sight | None = None

    async def make(self, connection: AsyncConnection) -> None:
        """Once and for all processes. Raises StoreUnavailable while an append is under way; what comes meanwhile is not from before."""
        if not (await connection.execute(_IS_NEW, {"name": self._name})).scalar_one():
            return
        mark = HighWaterMark(cast(Connection, (await connection.get_raw_connection()).driver_connection))
        await mark.advance()
        self._sight = sight = self._sight or await _look(connection, mark)
        await mark.settled(timeout=_PATIENCE)
        if (await connection.execute(_BEGIN, {"name": self._name, "end": sight.end})).first():
            late = {"name": self._name, "positions": list(sight.unseen), "types": self._event_types}
            await connection.execute(_HAND_OVER, late)


async def _look(connection: AsyncConnection, mark: HighWaterMark) -> _Sight:
    if mark.is_settled:
        return _Sight(mark.drawn, ())
    unseen = await connection.execute(_UNSEEN, {"end": mark.drawn, "back": _FURTHEST_BACK})
    return _Sight(mark.drawn, unseen.scalars().all())

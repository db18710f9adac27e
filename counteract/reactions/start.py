"""The beginning of a reaction that leaves the past alone.

Everything that is committed after it was first started is to be answered, and nothing from before. The newest position
that was drawn does not part the two: appends that were under way may have lower ones. So it begins at the newest
position, once nothing up to it is under way, and what could not be seen at first and is there by then is given to it as
parked events are. docs/decisions/0114
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.store.postgres.connect import Connection
from counteract.store.postgres.high_water_mark import HighWaterMark

_PATIENCE = 5.0
"""Seconds for one attempt: less than a transaction of a subscription may take."""
_FURTHEST_BACK = 100_000
"""Positions. An append that has been open while so many others were made counts as one from before."""

# Nobody has had it yet, and no process has begun it.
_NEW = "name = :name and position = 0 and epoch = 0"
_IS_NEW = text(f"select exists (select from subscriptions where {_NEW})")  # noqa: S608 - a constant
# Processes that start it at once look one after the other.
_TAKE_TURN = text(f"select name from subscriptions where {_NEW} for update")  # noqa: S608 - a constant
_WHY = "seen at the beginning"
# What was seen, as discarded events of no stream: nobody is told of them, and a release before this one passes them by.
# The last one says how far the log went; those of appends that are under way, or were never committed, are to be
# delivered if they hold an event yet.
_MARK = text(f"""
    insert into parked_events (subscription, position, aggregate_type, aggregate_id, redrive, discarded_at, discarded_why)
    select :name, drawn, '', '', not exists (select from events where position = drawn), clock_timestamp(), '{_WHY}'
    from generate_series(greatest(cast(:end as bigint) - :back, 0), :end) as drawn
    where drawn = :end or not exists (select from events where position = drawn)
""")  # noqa: S608 - a constant
# Nothing in the names of a stream keeps them from being empty: the reason alone tells a mark from what was parked.
_MARKED = f"subscription = :name and parked_events.aggregate_type = '' and discarded_why = '{_WHY}'"
_END = text(f"select max(position) from parked_events where {_MARKED}")  # noqa: S608 - a constant
# The epoch says that it has begun, also where the log is empty: its first owner begins epoch 2.
_BEGIN = text(f"update subscriptions set position = :end, epoch = 1 where {_NEW} returning name")  # noqa: S608 - a constant
_HAND_OVER = text(f"""
    update parked_events set aggregate_type = late.aggregate_type, aggregate_id = late.aggregate_id,
                             discarded_at = null, discarded_why = null
    from events late
    where {_MARKED} and redrive
      and late.position = parked_events.position and late.event_type = any (:types)
""")  # noqa: S608 - constants
_FORGET = text(f"delete from parked_events where {_MARKED}")  # noqa: S608 - a constant


class Beginning:
    """The beginning of one reaction: what was seen of the log at its first start is the past, all else is not."""

    def __init__(self, name: str, event_types: Collection[str]) -> None:
        self._name = name
        self._event_types = sorted(event_types)

    async def make(self, connection: AsyncConnection) -> None:
        """Begin, once and for all processes. Raises StoreUnavailable while an append is under way.

        What is appended meanwhile is not from before.
        """
        name = {"name": self._name}
        if (await connection.execute(_IS_NEW, name)).scalar_one():
            if (await connection.execute(_END, name)).scalar_one() is None:
                await self._look(connection)
            await (await _mark_of(connection)).settled(timeout=_PATIENCE)
            end = (await connection.execute(_END, name)).scalar_one()
            if (await connection.execute(_BEGIN, name | {"end": end})).first():
                await connection.execute(_HAND_OVER, name | {"types": self._event_types})
        # One that began it without a look at these is of a release before this one.
        await connection.execute(_FORGET, name)

    async def _look(self, connection: AsyncConnection) -> None:
        """Put down what is there, in a transaction of its own: other processes and the next try go by the same."""
        name = {"name": self._name}
        async with connection.engine.begin() as own:
            is_new = (await own.execute(_TAKE_TURN, name)).first() is not None
            if is_new and (await own.execute(_END, name)).scalar_one() is None:
                mark = await _mark_of(own)
                await mark.advance()
                back = 0 if mark.is_settled else _FURTHEST_BACK
                await own.execute(_MARK, name | {"end": mark.drawn, "back": back})


async def _mark_of(connection: AsyncConnection) -> HighWaterMark:
    return HighWaterMark(cast(Connection, (await connection.get_raw_connection()).driver_connection))

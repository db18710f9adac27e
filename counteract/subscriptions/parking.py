"""The parking of events that cannot be handled, together with everything later in their streams, in order.

As long as an event of a stream is parked, the later ones are added behind it. To redrive a stream is to hand its parked
events over again, in order, up to the first that fails again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.messages import StreamId
from counteract.store import StoredEvent
from counteract.store.postgres.connect import Connection
from counteract.subscriptions.lease import Lease

_STREAMS = text("""
    select distinct aggregate_type, aggregate_id from parked_events
    where subscription = :name and discarded_at is null
      and aggregate_type = any (:types) and aggregate_id = any (:ids)
""")
_PARK = text("""
    insert into parked_events (subscription, position, aggregate_type, aggregate_id, error)
    values (:name, :position, :type, :id, :error)
    on conflict (subscription, position) do nothing
""")
_TO_REDRIVE = """
    select distinct aggregate_type, aggregate_id from parked_events
    where subscription = %s and redrive and discarded_at is null and {condition}
"""
# In another order each time: where there are too many for one turn, all have theirs.
_ALL_PARKED = """
    select aggregate_type, aggregate_id from parked_events
    where subscription = %s and discarded_at is null and {condition}
    group by aggregate_type, aggregate_id order by random()
"""
_PARKED = text("""
    select position from parked_events
    where subscription = :name and aggregate_type = :type and aggregate_id = :id and discarded_at is null
    order by position limit :limit
""")
_DISCARDED = text("""
    select position from parked_events
    where subscription = :name and position = any (:positions) and discarded_at is not null
""")
_UNPARK = text("delete from parked_events where subscription = :name and position = any (:positions)")
_FAILED_AGAIN = text("""
    update parked_events set redrive = false, error = case when position = :position then :error else error end
    where subscription = :name and aggregate_type = :type and aggregate_id = :id
""")


class Parking:
    """The parked events of one subscription, over the connection that its events are handled on."""

    def __init__(self, name: str, connection: AsyncConnection) -> None:
        self._name = name
        self._connection = connection

    async def streams(self, events: Sequence[StoredEvent]) -> set[StreamId]:
        """The streams of these events that are parked."""
        streams = {event.stream for event in events}
        values = {"types": [each.aggregate_type for each in streams], "ids": [each.aggregate_id for each in streams]}
        rows = await self._connection.execute(_STREAMS, {"name": self._name} | values)
        return {StreamId(*row) for row in rows} & streams

    async def park(self, events: Collection[StoredEvent], error: str | None = None) -> None:
        """Set events aside. `error` is why the first of a stream failed; the ones behind it have none."""
        rows = [
            {
                "name": self._name,
                "position": event.position,
                "type": event.stream.aggregate_type,
                "id": event.stream.aggregate_id,
                "error": error,
            }
            for event in events
        ]
        if rows:
            await self._connection.execute(_PARK, rows)

    async def kept(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """The events without those that were discarded."""
        values = {"name": self._name, "positions": [event.position for event in events]}
        discarded = set((await self._connection.execute(_DISCARDED, values)).scalars())
        return [event for event in events if event.position not in discarded]

    async def positions(self, stream: StreamId, limit: int) -> Sequence[int]:
        """The positions of the first of the stream's parked events."""
        rows = await self._connection.execute(_PARKED, self._of(stream) | {"limit": limit})
        return list(rows.scalars())

    async def unpark(self, positions: Sequence[int]) -> None:
        """Forget that the events at these positions were parked: they are handled."""
        await self._connection.execute(_UNPARK, {"name": self._name, "positions": list(positions)})

    async def failed_again(self, stream: StreamId, position: int, error: str) -> None:
        """Put down why the event failed again, and that nobody waits for its stream to be redriven any more."""
        await self._connection.execute(_FAILED_AGAIN, self._of(stream) | {"position": position, "error": error})

    def _of(self, stream: StreamId) -> dict[str, Any]:
        return {"name": self._name, "type": stream.aggregate_type, "id": stream.aggregate_id}


async def streams_to_redrive(connection: Connection, lease: Lease) -> Sequence[StreamId]:
    """The streams of the lease's shard that somebody has asked to try again."""
    query = _TO_REDRIVE.format(condition=lease.condition)
    rows = await (await connection.execute(query, (lease.name,))).fetchall()
    return [StreamId(*row) for row in rows]


async def parked_streams(connection: Connection, lease: Lease) -> Sequence[StreamId]:
    """All parked streams of the lease's shard, in another order each time."""
    query = _ALL_PARKED.format(condition=lease.condition)
    rows = await (await connection.execute(query, (lease.name,))).fetchall()
    return [StreamId(*row) for row in rows]

"""Parked events, for commands and those who operate subscriptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from counteract.errors import CounteractError
from counteract.messages import StreamId
from counteract.printable import printable
from counteract.store.postgres.connect import Connection

_STREAMS = """
    select subscription, aggregate_type, aggregate_id, count(*), min(position), min(parked_at), bool_or(redrive),
           (array_agg(error order by position) filter (where error is not null))[1]
    from parked_events where discarded_at is null
    group by subscription, aggregate_type, aggregate_id order by subscription, min(position)
"""
_EVENTS = """
    select parked_events.position, version, event_type, event_data::text, error, parked_at, discarded_at, discarded_why
    from parked_events left join events using (position)
    where subscription = %s and parked_events.aggregate_type = %s and parked_events.aggregate_id = %s
    order by parked_events.position
"""
_REDRIVE = """
    update parked_events set redrive = true
    where subscription = %(name)s and discarded_at is null
      and (%(type)s::text is null or (aggregate_type = %(type)s and aggregate_id = %(id)s))
"""
_DISCARD = """
    update parked_events set discarded_at = clock_timestamp(), discarded_why = %s, redrive = false
    where subscription = %s and position = %s and discarded_at is null
"""


class NothingParked(CounteractError):
    """There is no such parked event: `counteract parked list` shows what there is."""


@dataclass(frozen=True, slots=True)
class ParkedStream:
    """A stream that a subscription does not get, until its parked events are redriven or discarded."""

    subscription: str
    stream: StreamId
    events: int
    position: int
    """The position of the first."""
    since: datetime
    is_redriven: bool
    """Whether somebody has asked to try it again."""
    error: str | None


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that is parked, or was discarded; with its data as stored.

    `version`, `event_type` and `data` are None where it is in an archive.
    """

    position: int
    version: int | None
    event_type: str | None
    data: str | None
    error: str | None
    """None for what only came after one that failed."""
    since: datetime
    discarded_at: datetime | None
    discarded_why: str | None


async def parked_streams(connection: Connection) -> Sequence[ParkedStream]:
    """The parked streams of all subscriptions, the oldest of each first."""
    rows = await (await connection.execute(_STREAMS)).fetchall()
    return [ParkedStream(name, StreamId(kind, each), *rest) for name, kind, each, *rest in rows]


async def parked_events(connection: Connection, name: str, stream: StreamId) -> Sequence[ParkedEvent]:
    """The parked events of one stream, in order, with those that were discarded."""
    rows = await (await connection.execute(_EVENTS, (name, *stream))).fetchall()
    return [ParkedEvent(*row) for row in rows]


async def redrive(connection: Connection, name: str, stream: StreamId | None = None) -> int:
    """Ask the subscription to try again, all of its streams or one. Returns how many events that is.

    The process that has the shard does so, soon, in order, up to the first of each stream that fails again.
    Raises NothingParked.
    """
    kind, each = stream or (None, None)
    asked = await connection.execute(_REDRIVE, {"name": name, "type": kind, "id": each})
    if not asked.rowcount:
        raise NothingParked(f"{name!r} has nothing parked" + (f" of {printable(stream)}" if stream else ""))
    await connection.execute(f"notify {connection.store.channel}")
    return asked.rowcount


async def discard(connection: Connection, name: str, position: int, *, why: str) -> None:
    """Never hand over this event. It stays on record, with the reason; the rest of its stream waits to be redriven.

    Raises NothingParked.
    """
    done = await connection.execute(_DISCARD, (why, name, position))
    if not done.rowcount:
        raise NothingParked(f"{name!r} has nothing parked at position {position}")

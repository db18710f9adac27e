"""Reading the global order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from counteract.store.connecting import Connection
from counteract.store.stored import STORED_COLUMNS, StoredEvent, stored_event

# The end is looked at last. As a part of the search, a planner whose statistics are behind the log takes the rest of the
# log for a few rows, and fetches and sorts all of it for every page.
_READ = (
    f"select {STORED_COLUMNS} from ("  # noqa: S608 - a constant
    "select * from events where position > %s and {condition} order by position limit %s"
    ") as page where position <= %s order by position"
)
_READ_TYPES = (
    f"select {STORED_COLUMNS} from events "  # noqa: S608 - a constant
    "where position > %s and position <= %s and event_type = any(%s) and {condition} order by position limit %s"
)
_READ_AT = f"select {STORED_COLUMNS} from events where position = any (%s) order by position"  # noqa: S608 - a constant


async def read_events(
    connection: Connection,
    *,
    after: int,
    up_to: int,
    limit: int,
    event_types: Collection[str] | None = None,
    condition: str = "true",
) -> Sequence[StoredEvent]:
    """At most `limit` events after one position and up to another, a confirmed high water mark, in order.

    `condition` is SQL, and not from outside. The connection must be in autocommit mode: an older snapshot would miss events below the mark.
    """
    if event_types is None:
        cursor = await connection.execute(_READ.format(condition=condition), (after, limit, up_to), binary=True)
    else:
        query = _READ_TYPES.format(condition=condition)
        cursor = await connection.execute(query, (after, up_to, sorted(event_types), limit), binary=True)
    return [stored_event(row) for row in await cursor.fetchall()]


async def read_events_at(connection: Connection, positions: Sequence[int]) -> Sequence[StoredEvent]:
    """The events at these positions, in order."""
    cursor = await connection.execute(_READ_AT, (list(positions),), binary=True)
    return [stored_event(row) for row in await cursor.fetchall()]

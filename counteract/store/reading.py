"""Reading the global order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from counteract.store.connecting import Connection
from counteract.store.stored import STORED_COLUMNS, StoredEvent, stored_event

_READ = f"select {STORED_COLUMNS} from events where position > %s and position <= %s order by position limit %s"  # noqa: S608 - a constant
_READ_TYPES = (
    f"select {STORED_COLUMNS} from events "  # noqa: S608 - a constant
    "where position > %s and position <= %s and event_type = any(%s) order by position limit %s"
)


async def read_events(
    connection: Connection, *, after: int, up_to: int, limit: int, event_types: Collection[str] | None = None
) -> Sequence[StoredEvent]:
    """At most `limit` events after one position and up to another, a confirmed high water mark, in order.

    The connection must be in autocommit mode: an older snapshot would miss events below the mark.
    """
    if event_types is None:
        cursor = await connection.execute(_READ, (after, up_to, limit), binary=True)
    else:
        cursor = await connection.execute(_READ_TYPES, (after, up_to, sorted(event_types), limit), binary=True)
    return [stored_event(row) for row in await cursor.fetchall()]

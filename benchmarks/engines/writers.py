"""Writes a step's event for the other engines: one statement, idempotent by the event's id, into the same table.

It is the least that a careful engineer would write: nothing is loaded, nothing is decided, and no undo is fenced off.
"""

from __future__ import annotations

from uuid import UUID, uuid5

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]

IDS = UUID("2b7f4c1e-8a53-5d0e-9c66-51a0c1f7d9e2")
POOL_SIZE = 10

_INSERT = """
    insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)
    values (%s, %s, %s, %s, %s, 1, %s, %s)
    on conflict (event_id) do nothing
"""


def pool(url: str) -> Pool:
    """A pool that is not open yet, whose connections prepare statements at their first use."""
    options = {"autocommit": True, "prepare_threshold": 0}
    return AsyncConnectionPool(url, min_size=1, max_size=POOL_SIZE, kwargs=options, open=False)


async def write(pool: Pool, kind: str, trip: str, event_type: str, version: int) -> None:
    """Write the event once, however often this is called."""
    event_id = uuid5(IDS, f"{trip} {event_type}")
    event, about = Jsonb({"trip": trip}), Jsonb({"correlation_id": trip, "causation_id": str(event_id)})
    async with pool.connection() as connection:
        await connection.execute(_INSERT, (event_id, kind, trip, version, event_type, event, about))

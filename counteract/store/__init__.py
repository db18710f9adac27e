"""The event store: append, load and read, on PostgreSQL.

    async with PostgresEventStore.open(url) as store:
        await store.append(stock_item.stream("p-1"), [StockReceived(quantity=5)], expect=NO_STREAM)
        item = await store.load(stock_item, "p-1")

This folder holds what every part of the store imports, and runs no SQL: the port (`port`) and its values (`expect`,
`moment`, `stored`, `terms`), decisions (`decide`, `turns`), limits (`limits`, `tags`), sealed personal data (`boxes`,
`master_key`, `signatures`), and the code that a state depends on (`source_code`). The rooms beside it:

- `postgres/` runs the store's SQL: the store itself, its connections, tables, functions and migrations.
- `contracts/` holds the published JSON Schemas of events, and compares them with today's classes.
- `archive/` moves the events of closed streams into files, and back.
- `transfer/` exports events as lines of JSON, and imports them.
- `checks/` examines a store: what keeps it from working, and whether everything in it can be read.
"""

from counteract.store.decide import Decided, decide, decide_where
from counteract.store.expect import ANY, NO_STREAM, STREAM_EXISTS, ExactVersion, Expect, StreamChange
from counteract.store.master_key import KeyWrapper, MasterKey
from counteract.store.moment import AtPosition, AtVersion
from counteract.store.port import Appended, EventStore, Loaded
from counteract.store.postgres.event_store import PostgresEventStore
from counteract.store.stored import EventDecoder, StoredEvent
from counteract.store.terms import Checkpoint, Found, Query, QueryItem, Since

__all__ = [
    "ANY",
    "NO_STREAM",
    "STREAM_EXISTS",
    "Appended",
    "AtPosition",
    "AtVersion",
    "Checkpoint",
    "Decided",
    "EventDecoder",
    "EventStore",
    "ExactVersion",
    "Expect",
    "Found",
    "KeyWrapper",
    "Loaded",
    "MasterKey",
    "PostgresEventStore",
    "Query",
    "QueryItem",
    "Since",
    "StoredEvent",
    "StreamChange",
    "decide",
    "decide_where",
]

"""The event store: append, load and read, on PostgreSQL.

    async with PostgresEventStore.open(url) as store:
        await store.append(stock_item.stream("p-1"), [StockReceived(quantity=5)], expect=NO_STREAM)
        item = await store.load(stock_item, "p-1")

`counteract.store.postgres.migrate` prepares a database, `counteract.store.postgres.append` has the statements for round trips of one's own.
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

"""The shadow: the table that a rebuild fills beside the live one, and whether an interrupted rebuild may go on with it.

It may where the table would come out the same if it were filled anew. Its remark names the code that makes it, and who
had been forgotten when it was begun. Where events came back from an archive since, or were lost, it has no checkpoint:
that is removed together with them (`restore_streams`, `restored`). docs/decisions/0129
"""

from __future__ import annotations

import logging

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.errors import CounteractError
from counteract.projections.identifiers import plain, quoted
from counteract.projections.projection import Projection
from counteract.projections.table import ProjectionTable
from counteract.store import PostgresEventStore
from counteract.store.postgres.names import REBUILD, StoreName, rebuilt
from counteract.subscriptions.lease import start_over

_logger = logging.getLogger("counteract.projections")

_IS_BEGUN = text("select exists (select from subscriptions where name = :name)")
# From now on no event is archived that it has yet to read.
_BEGIN = text("""
    insert into subscriptions (name, shard)
    select :name, generate_series(0, :shards - 1) where not exists (select from subscriptions where name = :name)
""")
# The rows of forgotten persons stay: one person more changes the count, and two at once the latest time.
_FORGOTTEN = text("""
    select count(*), to_char(max(forgotten_at) at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS.US')
    from personal_keys where forgotten_at is not null
""")
_LOCK = text("select max(position) from (select position from subscriptions where name = :name for update) locked")
_ANEW = "projection %r: its rebuild was interrupted, and begins anew: since it was begun the code has changed, or somebody was forgotten"
_VOID = (
    "{!r}: while its rebuild went on, its checkpoint was removed: events came back from an archive, or the log was cut short. "
    "Run it again, and it begins anew"
)
_END = text("delete from subscriptions where name = :name")
_UNPARK = text("delete from parked_events where subscription = :name")


class RebuildVoid(CounteractError):
    """The rebuild's checkpoint was removed, for events that it may have passed came back, or were lost: run it again.

    It begins anew then.
    """


def shadow_of(projection: Projection, store: StoreName) -> Projection:
    """A copy of the projection, with a table and a checkpoint of its own."""
    return projection.under(f"{projection.name}{REBUILD}", schema=store.rebuild)


async def begin(connection: AsyncConnection, shadow: Projection, shards: int) -> str:
    """Go on with the table that is there, or begin anew. Returns the remark on it."""
    remark = await remark_of(connection, shadow)
    if not (is_begun := await _is_begun(connection, shadow)):
        # Rows without a checkpoint: it is not known which events they show.
        await _drop_table(connection, shadow)
    if await ProjectionTable(shadow).create(connection, remark=remark):
        await start_over(connection, shadow.name)
        if is_begun:
            _logger.warning(_ANEW, rebuilt(shadow.name))
    await connection.execute(_BEGIN, {"name": shadow.name, "shards": shards})
    return remark


async def remark_of(connection: AsyncConnection, shadow: Projection) -> str:
    """The remark for a table that is begun now: the code alone where nobody was ever forgotten, as
    in earlier releases.
    """
    count, last = (await connection.execute(_FORGOTTEN)).one()
    return f"{shadow.fingerprint} {count} forgotten until {last}" if count else shadow.fingerprint


async def locked(connection: AsyncConnection, shadow: Projection) -> int:
    """The position that the shadow has come to, and stays at until the transaction ends. Raises RebuildVoid."""
    position = (await connection.execute(_LOCK, {"name": shadow.name})).scalar_one()
    if position is None:
        raise RebuildVoid(_VOID.format(rebuilt(shadow.name)))
    return int(position)


async def check_begun(store: PostgresEventStore, shadow: Projection) -> None:
    """Raises RebuildVoid where its checkpoint was removed while it was filled."""
    async with store.connection() as connection:
        found = await connection.execute("select from subscriptions where name = %s limit 1", (shadow.name,))
        if not found.rowcount:
            raise RebuildVoid(_VOID.format(rebuilt(shadow.name)))


async def discard(connection: AsyncConnection, shadow: Projection) -> None:
    """Remove what is left of a rebuild, with what it had parked."""
    await connection.execute(_END, {"name": shadow.name})
    await connection.execute(_UNPARK, {"name": shadow.name})
    await _drop_table(connection, shadow)


async def _is_begun(connection: AsyncConnection, shadow: Projection) -> bool:
    return bool((await connection.execute(_IS_BEGUN, {"name": shadow.name})).scalar_one())


async def _drop_table(connection: AsyncConnection, shadow: Projection) -> None:
    # As SQL: the types of its columns are the live table's as well.
    name = quoted(shadow.table.schema or "", shadow.table.name)
    await connection.exec_driver_sql(plain(f"drop table if exists {name}"))

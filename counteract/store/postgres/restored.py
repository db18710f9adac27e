"""The repair after PostgreSQL lost commits, by a restore or the promotion of a replica that was behind.

Positions that readers have seen are never given away again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from psycopg import sql

from counteract.errors import StoreError
from counteract.store.postgres.connect import APP_ROLE, Connection, connect_directly
from counteract.store.postgres.driver_errors import translated
from counteract.store.postgres.names import REBUILD, rebuild_table

LEAP = 1_000_000_000
"""The number of positions left out. Nobody knows how many were lost; this is more than a log draws in a day."""

_IS_OWNER = "select pg_has_role(relowner, 'member') from pg_class where oid = 'events_position_seq'::regclass"
_LOCK = "lock table events in share row exclusive mode"
_KNOWN = """
    select log, greatest(drawn, log) as drawn,
           greatest(drawn, log, (select max(position) from subscriptions), (select max(position) from parked_events))
    from (
        select case when is_called then last_value else 0 end as drawn, coalesce((select max(position) from events), 0) as log
        from events_position_seq
    ) as sequence
"""
_LEAP = "select setval('events_position_seq', %s)"
# Every table of a projection has a remark that says what made it; no table of the store has one.
_READERS = """
    select name, max(position),
           case when name like 'reaction %%' then 'reaction' when right(name, length(%s)) = %s then 'rebuild'
                when relkind = 'm' then 'view' when obj_description(c.oid, 'pg_class') is not null then 'projection'
                else 'elsewhere' end
    from subscriptions left join pg_class c on c.oid = to_regclass(quote_ident(replace(name, '-', '_')))
    group by name, c.oid, relkind order by name
"""
_DISCARD_TABLE = "drop table if exists {}"
_DISCARD = """
    with gone as (delete from subscriptions where name = any (%(names)s))
    delete from parked_events where subscription = any (%(names)s)
"""
# Snapshots are a cache: which of them are of streams that were cut short need not be found out.
_FORGET_SNAPSHOTS = "delete from snapshots"


class Kind(StrEnum):
    """The target that a subscription keeps up to date, as far as the database tells."""

    PROJECTION = "projection"
    """A table of this database."""
    VIEW = "view"
    """A materialized view."""
    REACTION = "reaction"
    REBUILD = "rebuild"
    """The table that a rebuild fills, or filled until it was interrupted."""
    ELSEWHERE = "elsewhere"
    """Rows in a sink, or whatever a subscriber of the application's own keeps."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A subscription, and the position that it has come to by its own account."""

    name: str
    position: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Leapt:
    """The outcome of `restored`."""

    log: int
    """The position of the last event."""
    drawn: int
    """The last position that was drawn. Not every position has an event."""
    after: int
    """The position after which new events come."""
    readers: Sequence[Reader]

    @property
    def ahead(self) -> Sequence[Reader]:
        """The readers that have seen events which the log does not have. Rebuilds among them were discarded."""
        return [each for each in self.readers if each.position > self.drawn]


async def restored(url: str, *, beyond: int = 0) -> Leapt:
    """Move the sequence far beyond every position that any reader may have seen, and beyond `beyond`.

    All snapshots are forgotten, and rebuilds that are beyond the last position drawn: one that runs ends with
    RebuildVoid. Connect as the owner of the tables. Calling it again leaps again and harms nothing, but no reader
    counts as ahead any more. Raises StoreError, StoreUnavailable.
    """
    with translated():
        async with await connect_directly(url, "this") as connection:
            if await (await connection.execute(_IS_OWNER)).fetchone() != (True,):
                raise StoreError(f"who restores also says so: connect as the owner of the tables, not as {APP_ROLE}")
            async with connection.transaction():
                await connection.execute(_LOCK)
                log, drawn, known = await (await connection.execute(_KNOWN)).fetchone() or (0, 0, 0)
                after = max(known, beyond) + LEAP
                await connection.execute(_LEAP, (after,))
                await connection.execute(_FORGET_SNAPSHOTS)
                rows = await (await connection.execute(_READERS, (REBUILD, REBUILD))).fetchall()
                leapt = Leapt(log, drawn, after, [Reader(name, position, Kind(kind)) for name, position, kind in rows])
                await _discard(connection, [each.name for each in leapt.ahead if each.kind is Kind.REBUILD])
    return leapt


async def _discard(connection: Connection, rebuilds: Sequence[str]) -> None:
    for name in rebuilds:
        table = sql.Identifier(connection.store.rebuild, rebuild_table(name))
        await connection.execute(sql.SQL(_DISCARD_TABLE).format(table))
    await connection.execute(_DISCARD, {"names": rebuilds})

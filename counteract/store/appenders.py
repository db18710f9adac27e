"""Who is appending, and who is in the way of those that want to."""

from __future__ import annotations

from dataclasses import dataclass

from counteract.store.connecting import Connection
from counteract.store.statements import without_values

# A holder of RowExclusiveLock on `events` is what the high water mark waits for. Any other lock counts only where an
# append waits for it; advisory locks are everybody's, so there the one that waits must be seen to append.
# A prepared transaction has no process: its own id, which it keeps locked, leads to its name. Of sessions of other roles
# the server tells hardly more than that they are there.
_OPEN_APPENDS = """
    with contended as (
        select locktype, mode, granted, pid, virtualtransaction from pg_locks
        where database = (select oid from pg_database where datname = current_database())
          and (relation = 'events'::regclass or locktype = 'advisory')
    ), kept_waiting as (
        select blocker, count(*) as number
        from (select distinct c.pid from contended c join pg_stat_activity a on a.pid = c.pid
              where not c.granted and (c.locktype <> 'advisory' or a.query ~ 'append_event|record_command')) as waiting
        cross join unnest(pg_blocking_pids(waiting.pid)) as blocker
        group by blocker
    ), holders as (
        select pid, virtualtransaction, bool_or(locktype = 'relation' and mode = 'RowExclusiveLock') as has_appended
        from contended where granted group by pid, virtualtransaction
    )
    select h.pid, h.virtualtransaction, p.name, coalesce(a.usename, p.owner), a.application_name, a.state,
           extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8,
           a.query, coalesce(w.number, 0)
    from holders h
    left join kept_waiting w on w.blocker = coalesce(h.pid, 0)
    left join pg_stat_activity a on a.pid = h.pid
    left join lateral (
        select quote_literal(x.gid) as name, x.owner, x.prepared
        from pg_locks l join pg_prepared_xacts x on x.transaction = l.transactionid
        where l.pid is null and l.virtualtransaction = h.virtualtransaction
    ) p on h.pid is null
    where h.has_appended or w.number > 0
    order by 7 desc nulls last, h.pid
"""

HIDDEN = "<insufficient privilege>"
"""What the server says in place of a statement that is none of the caller's business."""


@dataclass(frozen=True, slots=True)
class OpenAppend:
    """A transaction that has appended and not ended, or that keeps others from appending."""

    pid: int | None
    """None: it is prepared, and belongs to no session."""
    transaction: str
    """Virtual transaction id."""
    prepared_as: str | None
    """The name it was prepared under, as an SQL literal."""
    role: str | None
    application_name: str | None
    state: str | None
    age: float | None
    """Seconds since it began or, if it is prepared, since it was; None where the server does not say."""
    statement: str | None
    """The last one, without values; None where the server does not say."""
    keeps_waiting: int
    """How many sessions wait for it before they can append."""


async def open_appends(connection: Connection) -> list[OpenAppend]:
    """As of now, the oldest first: as a rule they are gone within milliseconds."""
    rows = await (await connection.execute(_OPEN_APPENDS)).fetchall()
    return [OpenAppend(*before, _statement(query), waiting) for *before, query, waiting in rows]


def _statement(query: str | None) -> str | None:
    return None if query in (None, "", HIDDEN) else without_values(query)

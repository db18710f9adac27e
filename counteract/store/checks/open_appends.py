"""Open appends: the transactions that are appending, and those that keep others from it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

from counteract.store.postgres.connect import Connection
from counteract.store.postgres.statements import without_values

TAKES_TURNS = (
    r"\m(append_(event|events|to_stream|to_streams|events_to_stream|on_terms)|record_(command|step)|(open|end|close)_saga(_as)?|find_events|archive_stream)\("
    r"|\mpg_advisory_xact_lock\(hashtextextended\("
)
"""A pattern in the text of a statement that may have to wait for its turn, as every statement that appends does."""

# The high water mark waits for a holder of RowExclusiveLock on `events`. Any other lock counts only where an append
# waits for it. Advisory locks are everybody's, so the session that waits for one must be seen to append. A prepared
# transaction has no process: its own id, which it keeps locked, leads to its name. Of sessions of other roles the
# server tells hardly more than that they are there.
_OPEN_APPENDS = f"""
    with contended as (
        select locktype, mode, granted, pid, virtualtransaction from pg_locks
        where database = (select oid from pg_database where datname = current_database())
          and (relation = 'events'::regclass or locktype = 'advisory')
    ), kept_waiting as (
        select blocker, count(*) as number
        from (select distinct c.pid from contended c join pg_stat_activity a on a.pid = c.pid
              where not c.granted and (c.locktype <> 'advisory' or a.query ~ '{TAKES_TURNS}')) as waiting
        cross join unnest(pg_blocking_pids(waiting.pid)) as blocker
        group by blocker
    ), holders as (
        select pid, virtualtransaction, bool_or(locktype = 'relation' and mode = 'RowExclusiveLock') as has_appended
        from contended where granted group by pid, virtualtransaction
    )
    select h.pid, h.virtualtransaction, p.name, coalesce(a.usename, p.owner), a.application_name, a.state,
           coalesce(a.xact_start, p.prepared),
           extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8,
           coalesce(w.number, 0), h.has_appended, a.query
    from holders h
    left join kept_waiting w on w.blocker = coalesce(h.pid, 0)
    left join pg_stat_activity a on a.pid = h.pid
    left join lateral (
        select quote_literal(x.gid) as name, x.owner, x.prepared
        from pg_locks l join pg_prepared_xacts x on x.transaction = l.transactionid
        where l.pid is null and l.virtualtransaction = h.virtualtransaction
    ) p on h.pid is null
    where h.has_appended or w.number > 0
    order by 7 nulls last, h.pid
"""  # noqa: S608 - constants

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2

HIDDEN = "<insufficient privilege>"
"""The text that the server shows in place of another role's statement."""


@dataclass(frozen=True, slots=True)
class OpenAppend:
    """A transaction that has appended and not ended, or that keeps others from appending."""

    pid: int | None
    """The process of its session; None for a prepared transaction, which belongs to no session."""
    transaction: str
    """The virtual transaction id."""
    prepared_as: str | None
    """The name under which it was prepared, as an SQL literal."""
    role: str | None
    application_name: str | None
    state: str | None
    began: datetime | None
    """The time when it began or was prepared, by the database's clock; None where the server does not say."""
    age: float | None
    """The seconds since then."""
    keeps_waiting: int
    """The number of sessions that wait for it before they can append."""
    has_appended: bool
    """Whether it has appended: then the high water mark waits for it, and with it all subscribers."""
    statement: str | None
    """The last statement, without values; None where the server does not say."""


async def open_appends(connection: Connection) -> list[OpenAppend]:
    """The open appends of now, the oldest first. As a rule they are gone within milliseconds."""
    rows = await (await connection.execute(_OPEN_APPENDS)).fetchall()
    return [OpenAppend(*(*before, _statement(query))) for *before, query in rows]


async def stuck_appends(connection: Connection, patience: float) -> list[OpenAppend]:
    """The appends that stood open for all of `patience` seconds; the look ends earlier where none is left.

    They are watched, not told by their age, which the server hides for sessions of other roles.
    """
    deadline, pause = time.monotonic() + patience, _FIRST_PAUSE
    stuck = await open_appends(connection)
    while stuck and time.monotonic() < deadline:
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        still = {(each.pid, each.transaction) for each in stuck}
        stuck = [each for each in await open_appends(connection) if (each.pid, each.transaction) in still]
    return stuck


def _statement(query: str | None) -> str | None:
    return None if query in (None, "", HIDDEN) else without_values(query)

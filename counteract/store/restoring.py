"""After PostgreSQL lost commits (a restore, the promotion of a replica that was behind): positions that were shown are never given away again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from counteract.errors import StoreError
from counteract.store.connecting import APP_ROLE, connect_directly
from counteract.store.translating import translated

LEAP = 1_000_000_000
"""Positions that the sequence leaves out: how many were lost nobody knows, and this is more than a log draws in a day."""

_IS_OWNER = "select pg_has_role(relowner, 'member') from pg_class where oid = 'events_position_seq'::regclass"
_LOCK = "lock table events in share row exclusive mode"
_KNOWN = """
    select greatest((select case when is_called then last_value else 0 end from events_position_seq),
                    (select max(position) from events), (select max(position) from subscriptions),
                    (select max(position) from parked_events), 0),
           coalesce((select max(position) from events), 0)
"""
_LEAP = "select setval('events_position_seq', %s)"
_READERS = "select name, max(position) from subscriptions group by name order by name"
# A cache: what it holds of streams that were cut short nobody needs to find out.
_FORGET_SNAPSHOTS = "delete from snapshots"


@dataclass(frozen=True, slots=True)
class Reader:
    """A subscription, and how far it says that it has come."""

    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Leapt:
    """What was done."""

    log: int
    """The last event's position."""
    after: int
    """New events come after this position."""
    readers: Sequence[Reader]

    @property
    def ahead(self) -> Sequence[Reader]:
        """Their rows show events that the log does not have."""
        return [each for each in self.readers if each.position > self.log]


async def restored(url: str, *, beyond: int = 0) -> Leapt:
    """Move the sequence far beyond every position that anybody may have seen, and beyond `beyond`; forget all snapshots.

    Connect as the owner of the tables. Raises StoreError, StoreUnavailable. Running it again leaps again, and harms nothing.
    """
    with translated():
        async with await connect_directly(url, "this") as connection:
            if await (await connection.execute(_IS_OWNER)).fetchone() != (True,):
                raise StoreError(f"who restores also says so: connect as the owner of the tables, not as {APP_ROLE}")
            async with connection.transaction():
                await connection.execute(_LOCK)
                known, log = await (await connection.execute(_KNOWN)).fetchone() or (0, 0)
                after = max(known, beyond) + LEAP
                await connection.execute(_LEAP, (after,))
                await connection.execute(_FORGET_SNAPSHOTS)
                readers = await (await connection.execute(_READERS)).fetchall()
    return Leapt(log, after, [Reader(*row) for row in readers])

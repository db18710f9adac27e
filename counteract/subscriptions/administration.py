"""Subscriptions as whoever looks after them sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from counteract.errors import CounteractError
from counteract.store.postgres.connect import Connection

_MOST = 100_000
_STANDINGS = """
    select name, count(*), min(position), bool_or(paused),
           bool_and(owner is not null and leased_until >= clock_timestamp()
                    and exists (select from pg_stat_activity where pid = owner_pid)),
           (select count(*) from (select from events where position > min(s.position) limit %(most)s) as later),
           coalesce((select extract(epoch from clock_timestamp() - created_at)::float8
                     from events where position > min(s.position) order by position limit 1), 0),
           (select count(*) from parked_events where subscription = s.name and discarded_at is null),
           max(within_seconds)
    from subscriptions s where name not in (select name from inline_projections) group by name order by name
"""
_INLINE = """
    select name, 0, (select coalesce(max(position), 0) from events), false, true, 0, 0, 0, null::float8, true
    from inline_projections
"""
_IS_INLINE = "select exists (select from inline_projections where name = %s)"
_PAUSE = "update subscriptions set paused = %s where name = %s"


class NoSuchSubscription(CounteractError):
    """Nothing of this name has ever run on this database: `counteract projections list` shows what has."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a subscription stands, over all of its shards."""

    name: str
    shards: int
    position: int
    """Of the shard that is the furthest behind."""
    is_paused: bool
    is_running: bool
    """Processes have all of its shards."""
    behind: int
    """Events of the log after its position, of whatever types and at most 100 000."""
    seconds_behind: float
    """Since the first of them was recorded."""
    parked: int
    """Events."""
    within_seconds: float | None
    """How far behind it may be, as declared."""
    is_inline: bool = False
    """Kept by whoever appends: no process has it, and it is never behind."""

    @property
    def is_more_behind(self) -> bool:
        return self.behind == _MOST

    @property
    def is_late(self) -> bool:
        """Further behind than was declared."""
        return self.within_seconds is not None and self.seconds_behind > self.within_seconds

    @property
    def status(self) -> str:
        if self.is_inline:
            return "inline"
        if self.is_paused:
            return "paused"
        if not self.is_running:
            return "no process has it"
        return "late" if self.is_late else "running"


async def standings(connection: Connection) -> Sequence[Standing]:
    """Of all subscriptions that ever ran, and all inline projections, by name."""
    rows = await (await connection.execute(_STANDINGS, {"most": _MOST})).fetchall()
    rows += await (await connection.execute(_INLINE)).fetchall()
    return sorted((Standing(*row) for row in rows), key=lambda each: each.name)


async def set_paused(connection: Connection, name: str, *, paused: bool) -> None:
    """A batch that is under way is still delivered. Raises NoSuchSubscription."""
    if await (await connection.execute(_IS_INLINE, (name,))).fetchone() == (True,):
        raise NoSuchSubscription(f"{name!r} is inline: it is part of each append, and has no pause")
    done = await connection.execute(_PAUSE, (paused, name))
    if done.rowcount:
        return
    raise NoSuchSubscription(f"there is no subscription {name!r}: `counteract projections list` shows what there is")

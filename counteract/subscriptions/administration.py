"""The state of all subscriptions, and their pause, for commands and those who operate them."""

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
    """The state of a subscription, over all of its shards."""

    name: str
    shards: int
    position: int
    """The checkpoint of the shard that is the furthest behind."""
    is_paused: bool
    is_running: bool
    """Whether living processes have all of its shards."""
    behind: int
    """Events of the log after its position, of whatever types and at most 100 000."""
    seconds_behind: float
    """Seconds since the first of those events was recorded; 0 where there is none."""
    parked: int
    """The number of its parked events."""
    within_seconds: float | None
    """The bound that it declares with `within`; None where it declares none."""
    is_inline: bool = False
    """Whether each append writes it: then no process has it, and it is never behind."""

    @property
    def is_more_behind(self) -> bool:
        """Whether there may be more events behind than are counted."""
        return self.behind == _MOST

    @property
    def is_late(self) -> bool:
        """Whether it is further behind than it declares."""
        return self.within_seconds is not None and self.seconds_behind > self.within_seconds

    @property
    def status(self) -> str:
        """Its status in words: `inline`, `paused`, `no process has it`, `late` or `running`."""
        if self.is_inline:
            return "inline"
        if self.is_paused:
            return "paused"
        if not self.is_running:
            return "no process has it"
        return "late" if self.is_late else "running"


async def standings(connection: Connection) -> Sequence[Standing]:
    """The state of each subscription that ever ran, and of each inline projection, by name."""
    rows = await (await connection.execute(_STANDINGS, {"most": _MOST})).fetchall()
    rows += await (await connection.execute(_INLINE)).fetchall()
    return sorted((Standing(*row) for row in rows), key=lambda each: each.name)


async def set_paused(connection: Connection, name: str, *, paused: bool) -> None:
    """Pause a subscription, or let it go on. A batch that is under way is still delivered.

    Raises NoSuchSubscription, for an inline projection too.
    """
    if await (await connection.execute(_IS_INLINE, (name,))).fetchone() == (True,):
        raise NoSuchSubscription(f"{name!r} is inline: it is part of each append, and has no pause")
    done = await connection.execute(_PAUSE, (paused, name))
    if done.rowcount:
        return
    raise NoSuchSubscription(f"there is no subscription {name!r}: `counteract projections list` shows what there is")

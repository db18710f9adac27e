"""The members of a subscription: which process has which of its shards.

Members make themselves known every third of a lease and share the shards evenly; those that joined first have one more.
A lease is free when it has run out, when its owner has given it back, or when its owner's connection is gone. A process
that takes one begins a new epoch, so that an owner that was only asleep finds that it cannot move it any more.

A member takes part only as long as there are as many shards as it was told. Each statement that takes counts them
itself, for a process that makes others deletes the rows: what a member owns has been taken in its own number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from counteract.store.postgres.connect import Connection
from counteract.subscriptions.lease import Lease

_JOIN = """
    with gone as (
        delete from subscription_members
        where name = %(name)s and member <> %(me)s and alive_until < clock_timestamp()
    ), here as (
        insert into subscription_members values (%(name)s, %(me)s, clock_timestamp() + %(alive)s * interval '1 second')
        on conflict (name, member) do update set alive_until = excluded.alive_until
    )
    select member from subscription_members
    where name = %(name)s and member <> %(me)s and alive_until >= clock_timestamp()
"""
_LEAVE = "delete from subscription_members where name = %s and member = %s"
FREE = """
    not paused and (
        owner is null or leased_until < clock_timestamp()
        or not exists (select from pg_stat_activity where pid = owner_pid)
    )
"""
_TAKE = f"""
    with free as (
        select shard from subscriptions where name = %(name)s and {FREE}
          and (select count(*) from subscriptions where name = %(name)s) = %(shards)s
        order by shard limit %(count)s for update skip locked
    )
    update subscriptions
    set owner = %(me)s, owner_pid = pg_backend_pid(), epoch = epoch + 1,
        leased_until = clock_timestamp() + %(seconds)s * interval '1 second'
    from free where subscriptions.name = %(name)s and subscriptions.shard = free.shard
    returning subscriptions.shard, position, epoch
"""  # noqa: S608 - a constant
# One statement for all subscriptions of a process. A row that somebody has locked is being moved or taken, and needs no
# renewal: waiting for it would hold up the others. So does one that is fresh; each renewal leaves an old version of a
# row behind. Who has another number of shards is no member: the others would leave shards to it that it may not take.
KEEP = """
    with mine as (
        select *, (select count(*) from subscriptions s where s.name = mine.name) as there
        from unnest(%(names)s::text[], %(members)s::uuid[], %(seconds)s::float8[], %(numbers)s::integer[])
             as mine (name, member, seconds, number)
    ), served as (
        select * from unnest(%(of)s::text[], %(shards)s::integer[]) as served (name, shard)
    ), dead as (
        select name, member from subscription_members m
        where name in (select name from mine) and member not in (select member from mine) and alive_until < clock_timestamp()
        for update skip locked
    ), gone as (
        delete from subscription_members m using dead where m.name = dead.name and m.member = dead.member
    ), here as (
        insert into subscription_members select name, member, clock_timestamp() + seconds * interval '1 second' from mine
        where there in (0, number)
        on conflict (name, member) do update set alive_until = excluded.alive_until
    ), stale as (
        select s.name, s.shard, mine.seconds
        from served join subscriptions s using (name, shard) join mine on s.name = mine.name and s.owner = mine.member
        where not s.paused and s.leased_until < clock_timestamp() + 0.8 * mine.seconds * interval '1 second'
        for no key update of s skip locked
    ), renewed as (
        update subscriptions s set leased_until = clock_timestamp() + stale.seconds * interval '1 second'
        from stale where s.name = stale.name and s.shard = stale.shard
    )
    select name, (select case when is_called then last_value else 0 end from events_position_seq),
           array(select m.member from subscription_members m
                 where m.name = mine.name and m.member <> mine.member and m.alive_until >= clock_timestamp()),
           array(select array[s.shard, s.position, s.epoch] from subscriptions s
                 where s.name = mine.name and s.owner = mine.member and not s.paused),
           array(select distinct redrive from parked_events p where p.subscription = mine.name and p.discarded_at is null),
           there
    from mine
"""
_RELEASE = "update subscriptions set owner = null, owner_pid = null, leased_until = null where name = %s and owner = %s"
_RELEASE_ONE = f"{_RELEASE} and shard = %s"


class Membership:
    """One process's part in a subscription, over one connection: with that it loses everything."""

    def __init__(self, connection: Connection, name: str, shards: int, seconds: float) -> None:
        self._connection = connection
        self.name = name
        self.shards = shards
        """How many there are to be; `there`, how many there are, as of the last beat."""
        self.there = shards
        self.seconds = seconds
        # In the order of time: members that joined first come first.
        self.me = uuid7()
        self.served: set[int] = set()
        """The shards that this process has and delivers: their leases are to be kept alive."""
        self._is_new = True
        self._others: Sequence[UUID] = ()
        self._stands: dict[int, tuple[int, int]] = {}
        self._as_of = 0
        # Of the events that are parked, whether somebody has asked to try them again.
        self._parked: frozenset[bool] = frozenset()

    def kept(
        self, as_of: int, others: Sequence[UUID], stands: Sequence[Sequence[int]], parked: Sequence[bool], there: int
    ) -> None:
        """Take note of what the database says of the member, at a beat of this number."""
        self._as_of = as_of
        self._others = others
        self._stands = {shard: (position, epoch) for shard, position, epoch in stands}
        self._parked = frozenset(parked)
        self.there = there

    @property
    def is_outdated(self) -> bool:
        """Whether others have made another number of shards. None at all is no number: the subscription was dropped, or
        what it filled has taken the place of something else.
        """
        return self.there not in (0, self.shards)

    @property
    def due(self) -> int:
        """How many of the shards are this process's share."""
        return share(self.shards, self.me, self._others)

    def standing(self, lease: Lease, since: int) -> Lease | None:
        """The lease as it is, which may have started over; None if it is another process's, or paused. `since`: the
        beats that had begun when it was certain for the last time.
        """
        if self._as_of <= since:
            return lease
        if lease.shard not in self._stands:
            return None
        position, epoch = self._stands[lease.shard]
        return lease if epoch == lease.epoch else replace(lease, position=position, epoch=epoch)

    def has_to_redrive(self, is_time: bool, since: int) -> bool:
        """Whether streams are parked that somebody wants tried again, or any where it is time for all."""
        return self._as_of > since and (True in self._parked or (is_time and bool(self._parked)))

    async def join(self) -> int:
        """Make the member known. Returns how many of the shards are its share.

        To be called, or `KEEP` executed, every third of a lease.
        """
        values = {"name": self.name, "me": self.me, "alive": self.seconds}
        rows = await (await self._connection.execute(_JOIN, values)).fetchall()
        if self._is_new:
            # Those before it have shards to give it.
            await self._connection.execute(f"notify {self._connection.store.leases}")
            self._is_new = False
        self._others = [member for (member,) in rows]
        return self.due

    async def take(self, count: int) -> Sequence[Lease]:
        """Take at most so many of the free leases; none where there is another number of shards than the member has."""
        values = {"name": self.name, "me": self.me, "count": count, "seconds": self.seconds, "shards": self.shards}
        rows = await (await self._connection.execute(_TAKE, values)).fetchall()
        return [
            Lease(self.name, shard, self.shards, position, epoch, self.me, self.seconds)
            for shard, position, epoch in rows
        ]

    async def release(self, lease: Lease) -> None:
        """Give a lease back: another process may go on at once."""
        await self._connection.execute(_RELEASE_ONE, (self.name, self.me, lease.shard))
        await self._connection.execute(f"notify {self._connection.store.leases}")

    async def leave(self, connection: Connection) -> None:
        """Give everything back, over a connection that need not be the member's."""
        await connection.execute(_RELEASE, (self.name, self.me))
        await connection.execute(_LEAVE, (self.name, self.me))
        await connection.execute(f"notify {connection.store.leases}")


def columns(members: Sequence[Membership]) -> dict[str, list[Any]]:
    """The parameters of `KEEP`."""
    served = [(each.name, shard) for each in members for shard in each.served]
    return {
        "names": [each.name for each in members],
        "members": [each.me for each in members],
        "seconds": [each.seconds for each in members],
        "numbers": [each.shards for each in members],
        "of": [name for name, _ in served],
        "shards": [shard for _, shard in served],
    }


def share(shards: int, me: UUID, others: Sequence[UUID]) -> int:
    """How many of the shards are `me`'s: an even part, and one more for those that joined first."""
    each, over = divmod(shards, len(others) + 1)
    return each + (sum(other < me for other in others) < over)

"""Which process has which shards of a subscription.

Members make themselves known every third of a lease and share the shards evenly; those that joined first have one more.
A lease is free when it has run out, when its owner has given it back, or when its owner's connection is gone. Whoever
takes one begins a new epoch, so that an owner that was only asleep finds that it cannot move it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from counteract.store.connecting import Connection
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
        order by shard limit %(count)s for update skip locked
    )
    update subscriptions
    set owner = %(me)s, owner_pid = pg_backend_pid(), epoch = epoch + 1,
        leased_until = clock_timestamp() + %(seconds)s * interval '1 second'
    from free where subscriptions.name = %(name)s and subscriptions.shard = free.shard
    returning subscriptions.shard, position, epoch
"""  # noqa: S608 - a constant
_RELEASE = "update subscriptions set owner = null, owner_pid = null, leased_until = null where name = %s and owner = %s"
_RELEASE_ONE = f"{_RELEASE} and shard = %s"


class Membership:
    """One process's part in a subscription, over one connection: with that it loses everything."""

    def __init__(self, connection: Connection, name: str, shards: int, seconds: float) -> None:
        self._connection = connection
        self._name = name
        self._shards = shards
        self._seconds = seconds
        # In the order of time: those who joined first come first.
        self.me = uuid7()
        self._is_new = True

    async def join(self) -> int:
        """How many of the shards are this process's share. To be called every third of a lease."""
        values = {"name": self._name, "me": self.me, "alive": self._seconds}
        rows = await (await self._connection.execute(_JOIN, values)).fetchall()
        if self._is_new:
            # Those before it have shards to give it.
            await self._connection.execute(f"notify {self._connection.store.leases}")
            self._is_new = False
        return share(self._shards, self.me, [member for (member,) in rows])

    async def take(self, count: int) -> Sequence[Lease]:
        """Of the leases that are free, at most so many."""
        values = {"name": self._name, "me": self.me, "count": count, "seconds": self._seconds}
        rows = await (await self._connection.execute(_TAKE, values)).fetchall()
        return [
            Lease(self._name, shard, self._shards, position, epoch, self.me, self._seconds)
            for shard, position, epoch in rows
        ]

    async def release(self, lease: Lease) -> None:
        """Somebody else may go on at once."""
        await self._connection.execute(_RELEASE_ONE, (self._name, self.me, lease.shard))
        await self._connection.execute(f"notify {self._connection.store.leases}")

    async def leave(self, connection: Connection) -> None:
        """Release everything, over a connection that need not be the member's."""
        await connection.execute(_RELEASE, (self._name, self.me))
        await connection.execute(_LEAVE, (self._name, self.me))
        await connection.execute(f"notify {connection.store.leases}")


def share(shards: int, me: UUID, others: Sequence[UUID]) -> int:
    """An even part, and one more for those that joined first."""
    each, over = divmod(shards, len(others) + 1)
    return each + (sum(other < me for other in others) < over)

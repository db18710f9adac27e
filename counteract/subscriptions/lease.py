"""The right to move one shard of a subscription, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.store.postgres.connect import Connection

_MOVE = """
    update subscriptions
    set position = :to, leased_until = clock_timestamp() + :seconds * interval '1 second', updated_at = clock_timestamp()
    where name = :name and shard = :shard and position = :position and epoch = :epoch and owner = :owner and not paused
    returning exists (select from parked_events where subscription = :name and discarded_at is null),
              exists (select from parked_events where subscription = :name and position > :position and discarded_at is not null),
              ctid::text
"""
_MOVE_BY_NAME = text(_MOVE)
# Each move leaves an old version of the row, which stays for as long as anybody's snapshot is older. By its name a row
# is found past all of them, and in a day's work there are thousands: so it is fetched from where the last move has put
# it.
_MOVE_IN_PLACE = text(_MOVE.replace("where name", "where ctid = cast(:place as tid) and name"))
_RENEW = """
    update subscriptions set leased_until = clock_timestamp() + %s * interval '1 second'
    where name = %s and shard = %s and owner = %s and not paused
    returning position, epoch
"""
_START_OVER = text("""
    update subscriptions set position = 0, epoch = epoch + 1, updated_at = clock_timestamp() where name = :name
""")
_UNPARK_ALL = text("delete from parked_events where subscription = :name and discarded_at is null")

# By the hash that partitions of tables use, which no version of PostgreSQL may change. The aggregates of one id stay
# together.
_OF_SHARD = "(hashtextextended(aggregate_id, 0) & 9223372036854775807) %% {shards} = {shard}"


@dataclass(frozen=True, slots=True)
class Lease:
    """A position, and the epoch in which it is its owner's to move. The next owner begins another epoch."""

    name: str
    shard: int
    shards: int
    position: int
    epoch: int
    owner: UUID
    seconds: float
    """Seconds for which it holds, from each move and each renewal on."""
    has_parked: bool = False
    """Whether streams of the subscription are parked, as of the last move."""
    has_discarded: bool = False
    """Whether discarded events come after where the last move began, as where the subscription has started over."""
    place: str | None = None
    """The place where the last move has put its row, which may be elsewhere by now."""

    @property
    def condition(self) -> str:
        """The condition in SQL that the streams of this shard meet."""
        return _OF_SHARD.format(shards=self.shards, shard=self.shard) if self.shards > 1 else "true"

    async def move(self, connection: AsyncConnection, position: int) -> Lease | None:
        """Move the position, and renew the lease.

        Returns the lease after it; None if it is another process's by now, or paused, or has started over.
        Locks the shard until the transaction ends: nobody takes it over as long as that goes on.
        """
        values = {"to": position, "seconds": self.seconds, "name": self.name, "shard": self.shard}
        values |= {"position": self.position, "epoch": self.epoch, "owner": self.owner}
        row = None
        if self.place:
            row = (await connection.execute(_MOVE_IN_PLACE, values | {"place": self.place})).first()
        if row is None:
            row = (await connection.execute(_MOVE_BY_NAME, values)).first()
        if row is None:
            return None
        has_parked, has_discarded, place = row
        return replace(self, position=position, has_parked=has_parked, has_discarded=has_discarded, place=place)

    async def renewed(self, connection: Connection) -> Lease | None:
        """Renew it. Returns the lease as it is now, perhaps started over; None if another's by now, or paused."""
        row = await (await connection.execute(_RENEW, (self.seconds, self.name, self.shard, self.owner))).fetchone()
        return replace(self, position=row[0], epoch=row[1]) if row else None


async def start_over(connection: AsyncConnection, name: str) -> None:
    """Put a subscription back before the first event, on all shards.

    The new epoch stops a process that was about to move one on. The parked events are parked no longer; what was
    discarded stays so.
    """
    await connection.execute(_START_OVER, {"name": name})
    await connection.execute(_UNPARK_ALL, {"name": name})

"""How far a subscription has come: the last position that it is done with."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.store.schema import subscriptions

_own = subscriptions.c


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A position, and the epoch in which it holds: a subscription that starts over begins a new one."""

    name: str
    position: int
    epoch: int

    @classmethod
    async def load(cls, connection: AsyncConnection, name: str) -> Checkpoint:
        """The one in the database; before the first event for a name that is new."""
        await connection.execute(insert(subscriptions).values(name=name).on_conflict_do_nothing())
        row = await connection.execute(select(_own.position, _own.epoch).where(_own.name == name, _own.shard == 0))
        return cls(name, *row.one())

    async def move(self, connection: AsyncConnection, position: int) -> Checkpoint | None:
        """The new one; None if it is no longer where it was, because another process moved it.

        Locks it until the transaction ends: others that want to move it wait for the outcome.
        """
        moved = await connection.execute(
            update(subscriptions)
            .where(_own.name == self.name, _own.shard == 0)
            .where(_own.position == self.position, _own.epoch == self.epoch)
            .values(position=position, updated_at=func.clock_timestamp())
        )
        return Checkpoint(self.name, position, self.epoch) if moved.rowcount else None

    @staticmethod
    async def start_over(connection: AsyncConnection, name: str) -> None:
        """Back before the first event. The new epoch stops whoever was about to move it on."""
        await connection.execute(
            insert(subscriptions)
            .values(name=name)
            .on_conflict_do_update(
                index_elements=[_own.name, _own.shard],
                set_={"position": 0, "epoch": _own.epoch + 1, "updated_at": func.clock_timestamp()},
            )
        )

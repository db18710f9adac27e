"""Inline projections, which are part of each append, and the change from one way of keeping a
projection to the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.errors import ConfigurationError
from counteract.projections.operations import Declared
from counteract.projections.table import ProjectionTable
from counteract.store import StoredEvent

_IS_INLINE = text("select exists (select from inline_projections where name = :name)")
_KEEP = text("select keep_inline(:name, :event_types)")
_LEAVE = text("select leave_inline(:name)")
_HAS_EVENTS = text("select exists (select from events)")
_KEPT_EVENTS = text("select event_types from inline_projections where name = :name")
# Looked for over the whole log, once, where there are none.
_UNLIMITED = text("set local statement_timeout = 0")
_END = text("select coalesce(max(position), 0) from events")
_STORED = text("""
    select name from unnest(cast(:names as text[])) as name
    where exists (select from events where event_type = name and position > :after and position <= :up_to)
    order by name
""")
_NEWEST = 2**63 - 1


class InlineProjection:
    """Writes a projection's rows in the transaction that appends the events."""

    def __init__(self, projection: Declared) -> None:
        self.name = projection.name
        self.event_types = projection.decoder.event_types
        self._table = ProjectionTable(projection)

    async def prepare(self, connection: AsyncConnection) -> None:
        """Make sure that the projection is kept, and its table there; in an empty store it begins here.

        Raises ConfigurationError where rows are missing that only a rebuild can make.
        """
        is_new = not await is_inline(connection, self.name) and await self._begin(connection)
        if more := self.event_types - set((await connection.execute(_KEPT_EVENTS, {"name": self.name})).scalar_one()):
            await self._keep_more(connection, sorted(more))
        has_no_table = await self._table.create(connection)
        if (is_new or has_no_table) and (await connection.execute(_HAS_EVENTS)).scalar_one():
            problem = (
                "rows are missing, for the store holds events that it was not there for: "
                f"`counteract projections rebuild {self.name}` makes it so"
            )
            raise ConfigurationError(f"inline projection {self.name!r}", [problem])

    async def _begin(self, connection: AsyncConnection) -> bool:
        """Begin to keep it; False where another process has begun meanwhile, whose code may handle fewer events."""
        async with connection.begin_nested() as attempt:
            if is_new := await _keep(connection, self):
                return is_new
            await attempt.rollback()
        return False

    async def _keep_more(self, connection: AsyncConnection, names: Sequence[str]) -> None:
        """Keep it for events that its code did not handle when the rows were made: their appends must keep it from now
        on.
        """
        await connection.execute(_UNLIMITED)
        end = (await connection.execute(_END)).scalar_one()
        await self._refuse_stored(connection, names, after=0, up_to=end)
        # From here on nothing is appended, and little came while the log was looked through.
        await _keep(connection, self)
        await self._refuse_stored(connection, names, after=end, up_to=_NEWEST)

    async def _refuse_stored(
        self, connection: AsyncConnection, names: Sequence[str], *, after: int, up_to: int
    ) -> None:
        found = await connection.execute(_STORED, {"names": list(names), "after": after, "up_to": up_to})
        if stored := found.scalars().all():
            problem = (
                f"it handles {', '.join(stored)} too by now, and the rows that those events make are missing: "
                f"`counteract projections rebuild {self.name}` makes them"
            )
            raise ConfigurationError(f"inline projection {self.name!r}", [problem])

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        """Write what the events do to the rows."""
        await self._table.write(events, connection)


async def is_inline(connection: AsyncConnection, name: str) -> bool:
    """Whether the database says that appends keep the projection."""
    return bool((await connection.execute(_IS_INLINE, {"name": name})).scalar_one())


async def keep_inline(connection: AsyncConnection, projection: InlineProjection) -> None:
    """Have appends of its events keep the projection from the end of this transaction on, and no other appends.

    Its rows are made of these events alone. No append goes on meanwhile.
    """
    await leave_inline(connection, projection.name)
    await _keep(connection, projection)


async def _keep(connection: AsyncConnection, projection: InlineProjection) -> bool:
    """Add its events to those that it is kept for. Whether there were none before."""
    values = {"name": projection.name, "event_types": sorted(projection.event_types)}
    return bool((await connection.execute(_KEEP, values)).scalar_one())


async def leave_inline(connection: AsyncConnection, name: str) -> None:
    """Have no append keep the projection from the end of this transaction on. No append goes on meanwhile."""
    await connection.execute(_LEAVE, {"name": name})

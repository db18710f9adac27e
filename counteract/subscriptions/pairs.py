"""Pairs of connections, one to read by and one to write by, for whichever shards have something to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from counteract.store.postgres.connect import Connection, async_engine, connect_directly
from counteract.store.postgres.errands import Errands
from counteract.store.postgres.read import READS_IN_ORDER
from counteract.subscriptions.bell import Bell

_KEPT = 2
"""Pairs that stay open while no shard has anything to do: what comes then is short, and they take turns."""
# In seconds.
_TURN = 0.05
_UNUSED = 10.0

# Before PostgreSQL 17 there is no limit to a whole transaction. One whose process stands still is idle, and ended for
# that; one that waits for a statement has a limit for that statement.
_LIMITS = text("""
    select set_config(name, given.value, false)
    from (values
        ('idle_in_transaction_session_timeout', :idle),
        (case when exists (select from pg_settings where name = 'transaction_timeout') then 'transaction_timeout'
              else 'statement_timeout' end, :whole)
    ) as given (name, value)
""")
STAYS = "select set_config('idle_session_timeout', '0', false)"
"""The statement that keeps a session open for when it is wanted again."""


class Limits(NamedTuple):
    """The seconds for which a process that stands still may keep a shard: idle in a transaction, and by all of it."""

    idle: float
    whole: float


@dataclass(eq=False)
class Pair:
    """Two connections. What is known by one of them, such as a high water mark, holds while a shard has the pair."""

    reader: Connection
    writer: AsyncConnection
    limits: Limits | None = None
    free_since: float = 0.0

    async def limit(self, limits: Limits) -> None:
        """Have the database hold the writer to these limits."""
        if self.limits != limits:
            async with self.writer.begin():
                await self.writer.execute(_LIMITS, {name: f"{each:.3f}s" for name, each in limits._asdict().items()})
            self.limits = limits

    @property
    def is_idle(self) -> bool:
        """Whether its reader has nothing under way. Reading ahead may be given up between two statements."""
        status = self.reader.pgconn
        return status.pipeline_status == PipelineStatus.OFF and status.transaction_status == TransactionStatus.IDLE

    async def close(self) -> None:
        """Close both connections."""
        try:
            await self.writer.close()
        finally:
            await self.reader.close()


class Pairs:
    """All pairs of a process: as many as are wanted at once, of which few stay open."""

    def __init__(self, url: str, purpose: str) -> None:
        self._url = url
        self._purpose = purpose
        self._engine = async_engine(url, directly_for=purpose, poolclass=NullPool)
        self._free: list[Pair] = []
        self._open = 0
        self._returned = Bell()
        self._errands = Errands()

    @asynccontextmanager
    async def one(self, limits: Limits) -> AsyncIterator[Pair]:
        """A pair, held to these limits. Where anything goes wrong with it, it is closed, and all that are free too."""
        pair = await self._free_or_new()
        try:
            await pair.limit(limits)
            yield pair
        except BaseException:
            await self._errands.run(self._close(pair, *self._taken(len(self._free))))
            raise
        if not pair.is_idle:
            # Statements of the next one would go into its pipeline, and their errors would come out late.
            await self._errands.run(self._close(pair))
            return
        pair.free_since = monotonic()
        self._free.append(pair)
        self._returned.ring()

    async def trim(self) -> None:
        """Close those that no shard has wanted for a while."""
        unused = sum(pair.free_since < monotonic() - _UNUSED for pair in self._free)
        await self._errands.run(self._close(*self._taken(max(min(unused, self._open - _KEPT), 0))))

    async def close(self) -> None:
        """Close all of them, once they are back."""
        await self._errands.all_done()
        await self._errands.run(self._close(*self._taken(len(self._free))))

    async def _free_or_new(self) -> Pair:
        deadline = monotonic() + _TURN
        while not self._free:
            if self._open < _KEPT or monotonic() >= deadline:
                # Whoever waits for it may be cancelled: then it is there for the next.
                await self._errands.run(self._make())
            else:
                await self._returned.heard(self._returned.count, timeout=deadline - monotonic())
        # The last one back is the next to go: the others show by their age that they are too many.
        return self._free.pop()

    def _taken(self, count: int) -> list[Pair]:
        taken, self._free = self._free[:count], self._free[count:]
        return taken

    async def _make(self) -> None:
        self._open += 1
        try:
            async with AsyncExitStack() as making:
                reader = await making.enter_async_context(await connect_directly(self._url, self._purpose))
                await reader.execute(READS_IN_ORDER)
                await reader.execute(STAYS)
                writer = await making.enter_async_context(self._engine.connect())
                async with writer.begin():
                    await writer.execute(text(STAYS))
                making.pop_all()
        except BaseException:
            self._open -= 1
            raise
        self._free.append(Pair(reader, writer, free_since=monotonic()))

    async def _close(self, *pairs: Pair) -> None:
        for pair in pairs:
            self._open -= 1
            await pair.close()

"""After a failure: connections that work again, and an error that names the reason and the next move."""

from __future__ import annotations

from dataclasses import dataclass, field

from psycopg_pool import AsyncConnectionPool, PoolTimeout

from counteract.errors import SchemaOutdated, StoreError, StoreReadOnly, StoreUnavailable
from counteract.store.connecting import Connection, connect
from counteract.store.errands import Errands
from counteract.store.inspecting import check_database
from counteract.store.translating import translated


@dataclass(frozen=True, slots=True)
class Recovery:
    """For one pool of connections."""

    pool: AsyncConnectionPool[Connection]
    url: str
    errands: Errands = field(default_factory=Errands)
    """What the pool's connections are in while they are in nobody's hands."""

    async def open(self) -> None:
        """Open the pool on a database that is ready. Raises StoreUnavailable, SchemaOutdated, ConfigurationError."""
        try:
            await self.pool.open(wait=True, timeout=self.pool.timeout)
        except PoolTimeout as error:
            late = StoreUnavailable(f"the database was not ready within {self.pool.timeout:g} seconds; retry")
            raise await self._why_unreachable() or late from error
        with translated():
            async with self.pool.connection() as connection:
                await check_database(connection)

    async def close(self) -> None:
        """Once no connection is on its way back any more."""
        await self.errands.all_done()
        await self.pool.close()

    async def after(self, error: StoreError) -> StoreError:
        """What to raise for an error: itself, or one that knows more."""
        match error:
            case SchemaOutdated():
                return await self._what_is_missing(error)
            case StoreReadOnly():
                # After a failover the pool's connections still lead to the server that is a standby now.
                await self.errands.run(self.pool.drain())
                return await self._why_read_only(error)
            case StoreUnavailable() if isinstance(error.__cause__, PoolTimeout):
                return await self._why_unreachable() or self._exhausted()
            case StoreUnavailable():
                # A server that restarts breaks every connection at once: replace the idle ones before the caller retries.
                await self.errands.run(self.pool.check())
        return error

    async def _why_read_only(self, error: StoreReadOnly) -> StoreError:
        if error.__cause__ is None:
            # Not the server's words, but ours: they say it.
            return error
        try:
            with translated():
                async with await connect(self.url) as connection:
                    row = await (await connection.execute("select pg_is_in_recovery()")).fetchone()
        except StoreError:
            return error
        return StoreReadOnly(f"this server is a standby: {error}") if row and row[0] else error

    async def _what_is_missing(self, error: SchemaOutdated) -> StoreError:
        try:
            with translated():
                async with await connect(self.url) as connection:
                    await check_database(connection)
        except (SchemaOutdated, StoreUnavailable) as better:
            return better
        return SchemaOutdated(f"no migration of this version is missing, but {error.__cause__}")

    async def _why_unreachable(self) -> StoreError | None:
        """The pool only knows that it waited: a connection of one's own says why, unless it can be made."""
        try:
            with translated():
                async with await connect(self.url):
                    return None
        except StoreError as reason:
            return reason

    def _exhausted(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"all {self.pool.max_size} connections of the pool were in use for {self.pool.timeout:g} seconds, and nothing "
            "was sent: hold each for less time, or open the store with a larger pool_size; retry"
        )

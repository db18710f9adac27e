"""The pool of the store's connections.

A connection is in use for as long as an `async with` lasts. After a failure the pool has connections that work again,
and the error names the reason and the next move.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from counteract.errors import SchemaOutdated, StoreError, StoreReadOnly, StoreUnavailable
from counteract.store.postgres.connect import Connection, connect
from counteract.store.postgres.driver_errors import in_our_terms, translated
from counteract.store.postgres.errands import Errands
from counteract.store.postgres.readiness import check_database


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of connections that finds out what became of the database when one of them fails."""

    connections: AsyncConnectionPool[Connection]
    url: str
    errands: Errands = field(default_factory=Errands)
    """The work on connections between two users, such as giving them back."""

    async def open(self) -> None:
        """Open the pool on a database that is ready. Raises StoreUnavailable, SchemaOutdated, ConfigurationError."""
        try:
            await self.connections.open(wait=True, timeout=self.connections.timeout)
        except PoolTimeout as error:
            late = StoreUnavailable(f"the database was not ready within {self.connections.timeout:g} seconds; retry")
            raise await self._why_unreachable() or late from error
        with translated():
            async with self.connections.connection() as connection:
                await check_database(connection)

    async def close(self) -> None:
        """Close the pool, once no connection is on its way back any more."""
        await self.errands.all_done()
        await self.connections.close()

    async def after(self, error: StoreError) -> StoreError:
        """The error to raise in place of this one: itself, or one that knows more."""
        match error:
            case SchemaOutdated():
                return await self._what_is_missing(error)
            case StoreReadOnly():
                # After a failover the pool's connections still lead to the server that is a standby now.
                await self.errands.run(self.connections.drain())
                return await self._why_read_only(error)
            case StoreUnavailable() if isinstance(error.__cause__, PoolTimeout):
                return await self._why_unreachable() or self._exhausted()
            case StoreUnavailable():
                # A server that restarts breaks every connection at once: replace the idle ones before the caller
                # retries.
                await self.errands.run(self.connections.check())
        return error

    async def _why_read_only(self, error: StoreReadOnly) -> StoreError:
        if error.__cause__ is None:
            # Raised by our own code, not by the server: it names the reason already.
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
        """The reason why the database cannot be reached, found by a connection of our own; None if that one can be
        made.
        """
        try:
            with translated():
                async with await connect(self.url):
                    return None
        except StoreError as reason:
            return reason

    def _exhausted(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"all {self.connections.max_size} connections of the pool were in use for {self.connections.timeout:g} seconds, and nothing "
            "was sent: hold each for less time, or open the store with a larger pool_size; retry"
        )


class Borrowed:
    """A pool's connection, in autocommit mode; errors come out as the store's.

    Whenever its user is cancelled, the pool gets the connection back, or another in its place.

    It is a class, for generators around the pool's own take a third as long again as the round trip between them, half
    of that for the end of a transaction that was never begun.
    """

    __slots__ = ("_connection", "_pool")

    _connection: Connection

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> Connection:
        try:
            self._connection = await self._pool.connections.getconn()
        except psycopg.Error as error:
            await self._raise_ours(error)
            raise
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await _give_back(self._connection, self._pool)
        if error is not None:
            await self._raise_ours(error)

    async def _raise_ours(self, error: BaseException) -> None:
        ours, cause = (error, error.__cause__) if isinstance(error, StoreError) else (in_our_terms(error), error)
        if ours is None:
            return
        ours.__cause__ = cause
        better = await self._pool.after(ours)
        if better is not error:
            raise better from cause


async def _give_back(connection: Connection, pool: Pool) -> None:
    status = connection.pgconn
    if status.pipeline_status != PipelineStatus.OFF:
        # Interrupted between its statements: the answers to them would be taken for those of the next.
        await connection.close()
    if status.transaction_status in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
        await pool.errands.run_if_it_waits(pool.connections.putconn(connection))
    else:
        await pool.errands.run(pool.connections.putconn(connection))

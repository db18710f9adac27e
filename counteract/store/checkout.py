"""Connections for as long as an `async with` lasts."""

from __future__ import annotations

from types import TracebackType

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg_pool import AsyncConnectionPool

from counteract.errors import StoreError
from counteract.store.connecting import Connection
from counteract.store.errands import Errands
from counteract.store.recovering import Recovery
from counteract.store.translating import in_our_terms


class Checkout:
    """A pool's connection, in autocommit mode; errors come out as the store's.

    Whenever its user is cancelled, the pool has the connection back, or another in its place.

    A class, and not generators around the pool's own: those take a third as long again as the round trip between them,
    half of that for the end of a transaction that there is none of.
    """

    __slots__ = ("_connection", "_pool", "_recovery")

    _connection: Connection

    def __init__(self, recovery: Recovery) -> None:
        self._pool = recovery.pool
        self._recovery = recovery

    async def __aenter__(self) -> Connection:
        try:
            self._connection = await self._pool.getconn()
        except psycopg.Error as error:
            await self._raise_ours(error)
            raise
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await _give_back(self._pool, self._connection, self._recovery.errands)
        if error is not None:
            await self._raise_ours(error)

    async def _raise_ours(self, error: BaseException) -> None:
        ours, cause = (error, error.__cause__) if isinstance(error, StoreError) else (in_our_terms(error), error)
        if ours is None:
            return
        ours.__cause__ = cause
        better = await self._recovery.after(ours)
        if better is not error:
            raise better from cause


async def _give_back(pool: AsyncConnectionPool[Connection], connection: Connection, errands: Errands) -> None:
    status = connection.pgconn
    if status.pipeline_status != PipelineStatus.OFF:
        # Interrupted between its statements: the answers to them would be taken for those of the next.
        await connection.close()
    if status.transaction_status in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
        await errands.run_if_it_waits(pool.putconn(connection))
    else:
        await errands.run(pool.putconn(connection))

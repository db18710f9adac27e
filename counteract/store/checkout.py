"""Connections for as long as an `async with` lasts."""

from __future__ import annotations

from types import TracebackType

import psycopg
from psycopg_pool import AsyncConnectionPool

from counteract.errors import StoreUnavailable
from counteract.store.connecting import Connection
from counteract.store.translating import in_our_terms


class Checkout:
    """A pool's connection, in autocommit mode; errors come out as the store's.

    A class, and not generators around the pool's own: those take a third as long again as the round trip between them,
    half of that for the end of a transaction that there is none of.
    """

    __slots__ = ("_connection", "_pool")

    _connection: Connection

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

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
        await self._pool.putconn(self._connection)
        if error is not None:
            await self._raise_ours(error)

    async def _raise_ours(self, error: BaseException) -> None:
        ours = error if isinstance(error, StoreUnavailable) else in_our_terms(error)
        if isinstance(ours, StoreUnavailable):
            # A server that restarts breaks every connection at once: replace the idle ones before the caller retries.
            await self._pool.check()
        if ours is not None and ours is not error:
            raise ours from error

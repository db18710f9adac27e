"""Inline projections: rows that are changed in the transaction of each append."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast
from uuid import UUID

from psycopg.errors import DeadlockDetected
from psycopg.rows import TupleRow
from pydantic_core import to_json
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import ConnectionPoolEntry

from counteract.errors import InlineProjectionGone, StoreError, StoreReadOnly, StoreUnavailable
from counteract.messages import Event
from counteract.store.postgres.connect import Connection, async_engine
from counteract.store.postgres.driver_errors import in_our_terms, translated
from counteract.store.postgres.errands import Errands
from counteract.store.postgres.error_texts import objection
from counteract.store.postgres.vault import Vault, opened_events
from counteract.store.stored import STORED_COLUMNS, StoredEvent, stored_events

_ANNOUNCE = "select set_config('counteract.inline_events', %s, true)"
# The events that this transaction has stored; none for a repeat.
_STORED = f"""
    select {STORED_COLUMNS} from events
    where event_id = any (%s) and xmin = pg_current_xact_id()::xid order by position
"""  # noqa: S608 - a constant
# Asked after the append, whose lock keeps the answer as it is until the end.
_KEPT = "select name from inline_projections where name = any (%s)"
_ATTEMPTS = 8


class Inline(Protocol):
    """Handles events in the transaction that appends them."""

    name: str
    event_types: frozenset[str]

    async def prepare(self, connection: AsyncConnection) -> None:
        """Get ready, in a transaction, when the store opens. Raises ConfigurationError."""

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        """Handle the events of an append that it is about, in order. An error here fails the append, and nothing is
        stored.
        """


class Inlinable(Protocol):
    """A projection that a store can be given to keep."""

    def inlined(self) -> Inline:
        """The handler of its events. Raises ConfigurationError where it is not declared inline."""


class InlineAppends:
    """Appends that also change inline projections, over connections of their own."""

    def __init__(self, url: str, kept: Sequence[Inline], vault: Vault, pool_size: int, pool_timeout: float) -> None:
        self._kept = kept
        self._names = [each.name for each in kept]
        # Names alone would not do: the code of another release may handle more events than this one.
        self._announced = to_json({each.name: sorted(each.event_types) for each in kept}).decode()
        self._event_types = frozenset[str]().union(*(each.event_types for each in kept))
        self._vault = vault
        self._errands = Errands()
        self._engine = async_engine(url, pool_size=pool_size, max_overflow=0, pool_timeout=pool_timeout)
        self._refusals = 0
        event.listen(self._engine.sync_engine, "connect", self._made)
        event.listen(self._engine.sync_engine, "checkout", self._replace_stale)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, inlinable: Iterable[Inlinable], vault: Vault, pool_size: int, pool_timeout: float
    ) -> AsyncIterator[InlineAppends]:
        """Prepare all of them, and serve until the context ends. Raises ConfigurationError, StoreUnavailable."""
        appends = cls(url, [each.inlined() for each in inlinable], vault, pool_size, pool_timeout)
        try:
            for each in appends._kept:
                async with appends._transaction() as connection:
                    await each.prepare(connection)
            yield appends
        finally:
            await appends._errands.all_done()
            await appends._engine.dispose()

    def concern(self, events: Iterable[Event]) -> bool:
        """Whether one of the events is handled by an inline projection."""
        return bool(self._event_types) and any(event.event_type in self._event_types for event in events)

    async def execute(self, query: str, parameters: Sequence[Any], event_ids: Sequence[UUID]) -> Sequence[TupleRow]:
        """The rows of a statement that appends these events, or finds them appended.

        Two appends that change the same rows in another order can stand in each other's way: then one of them is
        repeated. If the caller is cancelled, the transaction still goes to its end, for the engine would give a
        connection that was interrupted in one to the next caller.
        """
        return await self._errands.run(self._repeated(query, parameters, event_ids))

    async def _repeated(self, query: str, parameters: Sequence[Any], event_ids: Sequence[UUID]) -> Sequence[TupleRow]:
        for attempt in range(1, _ATTEMPTS):
            try:
                return await self._execute(query, parameters, event_ids)
            except StoreUnavailable as error:
                if not _is_deadlock(error.__cause__):
                    raise
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, no secret
        return await self._execute(query, parameters, event_ids)

    async def _execute(self, query: str, parameters: Sequence[Any], event_ids: Sequence[UUID]) -> Sequence[TupleRow]:
        async with self._transaction() as connection:
            appending = cast(Connection, (await connection.get_raw_connection()).driver_connection)
            async with appending.pipeline():
                await appending.execute(_ANNOUNCE, (self._announced,))
                answer = await appending.execute(query, parameters)
                stored = await appending.execute(_STORED, (list(event_ids),), binary=True)
                kept = await appending.execute(_KEPT, (self._names,))
            rows = await answer.fetchall()
            events = stored_events(await stored.fetchall())
            still = {name for (name,) in await kept.fetchall()}
            await self._handle(await opened_events(self._vault, appending, events), still, connection)
        return rows

    async def _handle(self, events: Sequence[StoredEvent], still: set[str], connection: AsyncConnection) -> None:
        for each in self._kept:
            concerned = [event for event in events if event.event_type in each.event_types]
            if not concerned:
                continue
            if each.name not in still:
                raise InlineProjectionGone(each.name)
            try:
                await each.handle(concerned, connection)
            except Exception as error:
                if isinstance(error, DBAPIError) and in_our_terms(error) is None:
                    raise _refusal(each.name, error) from None
                error.add_note(f"in the inline projection {each.name!r}: nothing was appended")
                raise

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            with translated():
                async with self._engine.begin() as connection:
                    yield connection
        except StoreReadOnly:
            # As the store's pool does: after a failover all of them still lead to the server that is a standby now.
            self._refusals += 1
            raise

    def _made(self, _connection: object, entry: ConnectionPoolEntry) -> None:
        entry.info["refusals"] = self._refusals

    def _replace_stale(self, _connection: object, entry: ConnectionPoolEntry, _proxy: object) -> None:
        """Have the pool open a new connection in place of one made before the database last refused
        to be written to.
        """
        if entry.info["refusals"] != self._refusals:
            raise DisconnectionError


def _refusal(name: str, error: DBAPIError) -> StoreError:
    why = objection(error) or type(error.orig).__name__
    return StoreError(f"the inline projection {name!r} cannot write its rows: {why}. Nothing was appended")


def _is_deadlock(error: BaseException | None) -> bool:
    return isinstance(error.orig if isinstance(error, DBAPIError) else error, DeadlockDetected)

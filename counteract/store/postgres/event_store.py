"""The event store on PostgreSQL, as one object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID

from psycopg.rows import TupleRow

from counteract.decider import Decider
from counteract.messages import Event, StreamId
from counteract.observability import appending
from counteract.store.boxes import Place
from counteract.store.expect import Expect, StreamChange
from counteract.store.limits import check_stream
from counteract.store.master_key import KeyWrapper
from counteract.store.moment import AtPosition, Moment
from counteract.store.port import Appended, Loaded
from counteract.store.postgres.append import (
    APPEND_ONE,
    APPEND_PLACEHOLDERS,
    APPEND_TO_STREAM,
    MAX_EVENT_BYTES,
    AppendArguments,
    append_arguments,
)
from counteract.store.postgres.as_of import position_at, version_at
from counteract.store.postgres.connect import Connection, connection_pool
from counteract.store.postgres.high_water_mark import HighWaterMark
from counteract.store.postgres.inline import Inlinable, InlineAppends
from counteract.store.postgres.load import PAGE, Fold, Loading, Memory
from counteract.store.postgres.notifier import Notifier
from counteract.store.postgres.pool import Borrowed, Pool
from counteract.store.postgres.query import found_all, found_page
from counteract.store.postgres.read import Selection, read_one_stream, read_selected, read_selected_page
from counteract.store.postgres.vault import Vault, opened_events
from counteract.store.stored import StoredEvent
from counteract.store.terms import Checkpoint, Found, Query, Since, terms_of

S = TypeVar("S")
E = TypeVar("E", bound=Event)

_APPEND_ONE = f"select stream_version, array[last_position] from {APPEND_ONE}"  # noqa: S608 - a constant
_APPEND_TO_STREAM = f"select stream_version, positions from {APPEND_TO_STREAM}"  # noqa: S608 - a constant
_APPEND = f"select stream_version, positions from append_to_streams({APPEND_PLACEHOLDERS})"  # noqa: S608 - a constant
_APPEND_ON_TERMS = f"select stream_version, positions from append_on_terms(%s::jsonb, {APPEND_PLACEHOLDERS})"  # noqa: S608 - a constant
_CHECKPOINT = "select position from checkpoints where name = %s"


def _statement(terms: str | None, arguments: AppendArguments) -> tuple[str, Sequence[Any]]:
    if terms is not None:
        return _APPEND_ON_TERMS, (terms, *arguments.literals)
    if one := arguments.of_one_event:
        return _APPEND_ONE, one
    if some := arguments.of_one_stream:
        return _APPEND_TO_STREAM, some
    return _APPEND, arguments.literals


class PostgresEventStore:
    """Appends, loads and reads events. A process has one; it is safe to use from many tasks of one event loop.

    Errors are those of `counteract.errors`; StoreUnavailable asks for a retry.
    """

    def __init__(
        self, pool: Pool, notifier: Notifier, loading: Loading, inline: InlineAppends, max_event_bytes: int
    ) -> None:
        self._connections = pool
        self._pool = pool.connections
        self._notifier = notifier
        self._loading = loading
        self._inline = inline
        self.max_event_bytes = max_event_bytes

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        pool_size: int = 10,
        pool_timeout: float = 10.0,
        max_event_bytes: int = MAX_EVENT_BYTES,
        cached_states: int = 1000,
        snapshot_every: int = 100,
        master_key: KeyWrapper | None = None,
        inline: Sequence[Inlinable] = (),
    ) -> AsyncIterator[Self]:
        """Open a store with a pool of at most `pool_size` connections; a caller waits `pool_timeout` seconds for one.

        The `cached_states` states that were loaded last stay in memory, and after every `snapshot_every` events of a
        stream its state is kept in the database (0: never). `master_key` is for personal data; by default it comes from
        COUNTERACT_MASTER_KEY, or the file that COUNTERACT_MASTER_KEY_FILE names. `inline` are projections to keep up to
        date in the transaction of each append; they take as many connections again. No event may have more than
        `max_event_bytes` bytes as JSON.

        Raises StoreUnavailable when the database does not answer within `pool_timeout` seconds, SchemaOutdated when it
        lacks a migration, and ConfigurationError when its encoding is not UTF-8, the master key cannot be read, or a
        projection cannot be kept.
        """
        pool = Pool(connection_pool(url, pool_size, pool_timeout), url)
        try:
            await pool.open()
            vault = Vault(master_key)
            loading = Loading(Memory(cached_states), vault, snapshot_every)
            async with (
                Notifier.running(url) as notifier,
                InlineAppends.open(url, inline, vault, pool_size, pool_timeout) as inlined,
            ):
                yield cls(pool, notifier, loading, inlined, max_event_bytes)
        finally:
            await pool.close()

    async def append(
        self,
        stream: StreamId,
        events: Sequence[Event],
        *,
        expect: Expect,
        metadata: Mapping[str, Any] | None = None,
        event_ids: Sequence[UUID] | None = None,
        unless: Since | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Appended:
        """Append all events or none. The same event ids again are a repeat, which returns what the first append did.

        Nothing is appended if the query of `unless` finds an event after its position (see `find`). A consumer's
        `checkpoint` moves on in the same transaction. Raises WrongExpectedVersion, BoundaryChanged, CheckpointPassed,
        EventIdReused, InvalidEvent, AppendTooLarge.
        """
        changes = [StreamChange(stream, expect.least, expect.most, events)]
        answers = await self.append_many(
            changes, metadata=metadata, event_ids=event_ids, unless=unless, checkpoint=checkpoint
        )
        return answers[0]

    async def append_many(
        self,
        changes: Sequence[StreamChange],
        *,
        metadata: Mapping[str, Any] | None = None,
        event_ids: Sequence[UUID] | None = None,
        unless: Since | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Sequence[Appended]:
        """Append to several streams, to all or none: as `append`, with an answer for each change. At most 256 streams.

        A change without events only checks its stream: nobody can append to it until the others are stored.
        """
        terms = None if unless is None and checkpoint is None else terms_of(unless, checkpoint)
        rows = await self.append_by(partial(_statement, terms), changes, metadata=metadata, event_ids=event_ids)
        return [Appended.at(*row) for row in rows]

    async def append_by(
        self,
        statement: Callable[[AppendArguments], tuple[str, Sequence[Any]]],
        changes: Sequence[StreamChange],
        *,
        metadata: Mapping[str, Any] | None = None,
        event_ids: Sequence[UUID] | None = None,
    ) -> Sequence[TupleRow]:
        """Append by a statement of your own, which may do more in the same transaction. Returns its rows."""
        events = [event for change in changes for event in change.events]
        with appending(anything=bool(events)):
            arguments = append_arguments(changes, metadata or {}, event_ids, max_event_bytes=self.max_event_bytes)
            async with self.connection() as connection:
                if any(event.personal for event in events):
                    streams = [change.stream for change in changes for _ in change.events]
                    named = zip(streams, arguments.event_ids, arguments.event_types, strict=True)
                    places = [Place(*each) for each in named]
                    data = await self._loading.vault.sealed(connection, events, places, arguments.data)
                    arguments = arguments._replace(data=data)
                query, parameters = statement(arguments)
                if not self._inline.concern(events):
                    rows: Sequence[TupleRow] = await (await connection.again.execute(query, parameters)).fetchall()
                else:
                    rows = await self._inline.execute(query, parameters, arguments.event_ids)
        self._notifier.notify()
        return rows

    async def load(self, decider: Decider[S, E], aggregate_id: str, *, at: Moment | None = None) -> Loaded[S]:
        """The aggregate's state: as of now, or at a version, a position of the log, or a time (with its zone).

        A time is that of recording, by the database's clock. Memory is bounded however long the stream is. Raises
        UnknownEventType, UnreadableEvent, NoSuchVersion, PersonalDataLocked, StreamArchived.
        """
        async with self.connection() as connection:
            if at is None:
                return await self.begin_load(decider, aggregate_id).run(connection)
            moment = AtPosition(await self._position_at(connection, at)) if isinstance(at, datetime) else at
            version = await version_at(connection, decider.stream(aggregate_id), moment)
            return await self._loading.begin(decider, aggregate_id, up_to=version).run(connection)

    async def position_at(self, time: datetime) -> int:
        """The log's position at a time, for several loads at one moment: `load(…, at=AtPosition(position))`."""
        async with self.connection() as connection:
            return await self._position_at(connection, time)

    async def forget(self, subject: str) -> int:
        """Destroy the keys of a person's data: from now on it is read as `Forgotten`.

        Returns the number of keys destroyed, 0 when called again.
        """
        async with self.connection() as connection:
            return await self._loading.vault.forget(connection, subject)

    async def read_stream(
        self,
        stream: StreamId,
        *,
        after_version: int = 0,
        before_version: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> Sequence[StoredEvent]:
        """The stream's events after one version and before another, at most `limit`, in order or the newest first.

        The next page is `after_version=events[-1].version`, backwards `before_version=events[-1].version`.
        Raises StreamArchived.
        """
        check_stream(stream)
        async with self.connection() as connection:
            events = await read_one_stream(
                connection,
                stream,
                after_version=after_version,
                before_version=before_version,
                limit=limit,
                backwards=backwards,
            )
            return await opened_events(self._loading.vault, connection, events)

    async def read(
        self,
        *,
        after: int = 0,
        up_to: int | None = None,
        limit: int | None = None,
        category: str | None = None,
        event_types: Collection[str] | None = None,
        correlation_id: str | None = None,
        query: Query | None = None,
        backwards: bool = False,
    ) -> Sequence[StoredEvent]:
        """Events of all streams in the global order, after one position and up to another.

        They are at most `limit`, or, by default, a page: at most 1000, and fewer where they are large. An empty answer
        is the end. The next page is `after=events[-1].position`, backwards `up_to=events[-1].position - 1`.

        `category` (the aggregate type), `event_types` and `correlation_id` together select events; `Selection` tells
        what that costs. A `query` selects alone, through an index where it has tags. `backwards` gives the last of
        them, the newest first.

        `up_to` must be a high water mark that was confirmed, or below one. By default it is the present one: everything
        that was committed when the call began is there, and the call waits for appends that were under way. Archived
        events are left out.
        """
        end = await self.high_water_mark() if up_to is None else up_to
        selection = Selection(category=category, event_types=event_types, correlation_id=correlation_id)
        if query is not None and selection != Selection():
            raise ValueError(
                "a query selects by itself: give it the types, and neither a category nor a correlation_id"
            )
        read: Callable[..., Awaitable[Sequence[StoredEvent]]]
        if query is not None:
            read = partial(found_page, query=query, limit=PAGE if limit is None else limit, bounded=limit is None)
        elif limit is None:
            read = partial(read_selected_page, selection=selection, limit=PAGE)
        else:
            read = partial(read_selected, selection=selection, limit=limit)
        async with self.connection() as connection:
            events = await read(connection, after=after, up_to=end, backwards=backwards)
            return await opened_events(self._loading.vault, connection, events)

    async def find(self, query: Query, *, after: int = 0) -> Found:
        """All events that the query finds after a position, in memory, and the position up to which these are all: to
        decide by.

        The append that depends on them has `unless=found.since`. It waits for appends under way: for those with a tag
        of the query, or for all of them, where the query has items without tags. Raises StreamArchived,
        StoreUnavailable.
        """
        async with self.connection() as connection:
            events, mark = await found_all(connection, query, after=after, timeout=self._pool.timeout)
            return Found(await opened_events(self._loading.vault, connection, events), query.since(mark))

    async def checkpoint(self, name: str) -> int:
        """The position of a consumer's checkpoint, which its appends move on; 0 if it has none."""
        async with self.connection() as connection:
            row = await (await connection.execute(_CHECKPOINT, (name,))).fetchone()
        return int(row[0]) if row else 0

    async def high_water_mark(self, *, timeout: float = 30.0) -> int:  # noqa: ASYNC109 - as in settled()
        """The last position drawn so far, once everything up to it is committed or never will be.

        Raises StoreUnavailable when an append is still under way after `timeout` seconds.
        """
        async with self.connection() as connection:
            return await HighWaterMark(connection).settled(timeout=timeout)

    def begin_load(self, decider: Decider[S, E], aggregate_id: str) -> Fold[S, E]:
        """A load whose first page the caller fetches itself, with other statements in the same round trip."""
        return self._loading.begin(decider, aggregate_id)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection in autocommit mode, whose errors come out as the store's."""
        return Borrowed(self._connections)

    async def _position_at(self, connection: Connection, time: datetime) -> int:
        # An event that is not settled yet might still come in before that time.
        mark = await HighWaterMark(connection).settled(timeout=self._pool.timeout)
        return await position_at(connection, time, mark)

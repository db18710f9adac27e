"""Bulk import: events from lines of JSON straight into the table, by COPY.

Each batch has a transaction of its own: subscribers never pass an open append, and are not held up for the whole
import. An import that was interrupted is run again: event ids tell what is stored already.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.errors import UniqueViolation

from counteract.errors import EventIdReused, InvalidImport, StoreError
from counteract.store.postgres.archived import raise_if_any_archived
from counteract.store.postgres.connect import APP_ROLE, Connection, connect_directly
from counteract.store.postgres.driver_errors import translated
from counteract.store.tags import TAGS
from counteract.store.transfer.lines import Batch, Row, batches

BATCH_SIZE = 20_000
"""The events of one transaction: a quarter of a second or so, for which subscribers wait."""

_MAY_INSERT = "select has_table_privilege('events', 'insert')"
# The limits keep both look-ups on the index, whatever the table's statistics say. Neither is prepared: a plan that was
# made for an empty table would be kept while it grows.
_STORED = """
    select given.number, stored.version, stored.is_same
    from unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::smallint[], %s::text[]) with ordinality
         as given (event_id, aggregate_type, aggregate_id, event_type, schema_version, event_data, number)
    cross join lateral (
        select e.version,
               e.aggregate_type = given.aggregate_type and e.aggregate_id = given.aggregate_id
               and e.event_type = given.event_type and e.schema_version = given.schema_version
               and e.event_data = given.event_data::jsonb as is_same
        from events e where e.event_id = given.event_id limit 1
    ) as stored
"""
_VERSIONS = """
    select given.aggregate_type, given.aggregate_id, coalesce((
        select e.version from events e
        where e.aggregate_type = given.aggregate_type and e.aggregate_id = given.aggregate_id
        order by e.version desc limit 1), 0)
    from unnest(%s::text[], %s::text[]) as given (aggregate_type, aggregate_id)
"""
_COPY = (
    "copy events (event_id, aggregate_type, aggregate_id, event_type, schema_version, event_data, metadata, version) "
    "from stdin"
)
# The lock that an append on the terms of a query by tags holds: it stands for all tags, for a batch may have more of
# them than there is room for locks.
_KEEP_QUERIES_OUT = """
    select pg_advisory_xact_lock(hashtextextended(
        '$import', case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end))
"""
# The sagas of such events are over, or another store's: put_on_record.
_NOT_ON_RECORD = "select set_config('counteract.on_record', 'no', true)"
_INDEX_TAGS = "select index_tags(%s::uuid[])"
# Rows that are sent at once.
_BLOCK = 100
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_Key = tuple[str, str]
_TAGS = f'"{TAGS}"'
# The server's words about a value may quote it: only the line is taken from them.
_PLACE = re.compile(r"COPY events, line (\d+)")


@dataclass(frozen=True, slots=True)
class Imported:
    """The progress of an import, from the first line on."""

    lines: int = 0
    bytes: int = 0
    stored: int = 0
    """Events that were stored now."""
    present: int = 0
    """Events that were stored already."""

    def and_(self, batch: Batch, *, stored: int) -> Imported:
        """The progress after one more batch, of which `stored` events were new."""
        present = self.present + len(batch.rows) - stored
        return Imported(self.lines + batch.lines, self.bytes + batch.bytes, self.stored + stored, present)


async def import_events(
    url: str,
    lines: Iterable[bytes],
    *,
    batch_size: int = BATCH_SIZE,
    continue_streams: bool = False,
    progress: Callable[[Imported], None] = lambda _: None,
) -> Imported:
    """Store the events of `lines` (see `counteract.store.transfer.lines`) in their order; `progress` is told after each
    batch.

    Connect as the owner of the tables: the application may not insert. Events whose ids are stored already are left
    out. A stream that holds events other than the import's is refused with WrongExpectedVersion, and so is one that
    gets other events meanwhile; with `continue_streams` the import appends after them instead. To refuse, it keeps the
    name of each stream in memory. Data is stored as it stands: personal data is not sealed.

    Raises InvalidImport, EventIdReused, WrongExpectedVersion, StreamArchived, StoreUnavailable. The batch that an error
    is about is not stored, and all before it are: correct the cause and run the import again.
    """
    with translated():
        async with await connect_directly(url, "an import") as connection:
            await _raise_unless_owner(connection)
            importer = _Importer(connection, _Continued(connection) if continue_streams else _Alone())
            done = Imported()
            async with aclosing(_read_ahead(batches(lines, batch_size))) as upcoming:
                async for batch in upcoming:
                    done = done.and_(batch, stored=await importer.store(batch))
                    await connection.execute(f"notify {connection.store.channel}")
                    progress(done)
            return done


async def _raise_unless_owner(connection: Connection) -> None:
    row = await (await connection.execute(_MAY_INSERT)).fetchone()
    if row != (True,):
        raise StoreError(
            "an import writes to the table itself, which the role that you connect as may not: "
            f"connect as the owner, who also migrates, not as {APP_ROLE}"
        )


async def _read_ahead(of: AsyncGenerator[Batch, None]) -> AsyncGenerator[Batch, None]:
    """The batches, each parsed while the server is at work on the one before."""
    upcoming = asyncio.create_task(anext(of, None))
    try:
        while batch := await upcoming:
            upcoming = asyncio.create_task(anext(of, None))
            yield batch
    finally:
        # An error in a batch that nobody asks for any more is not reported.
        if not upcoming.cancel():
            upcoming.exception()


class _Alone:
    """The versions of streams that are the import's alone: they are counted, and any other event
    there is in the way.
    """

    def __init__(self) -> None:
        self._versions: dict[_Key, int] = {}

    async def versions(self, keys: Iterable[_Key]) -> dict[_Key, int]:
        return {key: self._versions.get(key, 0) for key in keys}

    def reached(self, versions: dict[_Key, int]) -> None:
        self._versions.update(versions)


class _Continued:
    """The versions of streams that go on from whatever they hold."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def versions(self, keys: Iterable[_Key]) -> dict[_Key, int]:
        columns = _columns(keys, width=2)
        rows = await self._connection.execute(_VERSIONS, columns, prepare=False)
        return {(aggregate_type, aggregate_id): version async for aggregate_type, aggregate_id, version in rows}

    def reached(self, versions: dict[_Key, int]) -> None:
        """Keep nothing: the next batch asks for them anew."""


class _Importer:
    def __init__(self, connection: Connection, streams: _Alone | _Continued) -> None:
        self._connection = connection
        self._streams = streams
        # An import that is run again finds its first batches stored; once one was not stored, no later one is.
        self._may_be_stored = False

    async def store(self, batch: Batch) -> int:
        """Store all of a batch or none; the number of its events that were not stored before."""
        stored = await self._find_stored(batch) if self._may_be_stored else {}
        while True:
            try:
                await self._store_missing(batch, stored)
            except UniqueViolation:
                # Looked for only now, for a new import has no stored events; and again, where another process imports
                # the same ones. An event that is stored may violate either key first: a copy that was restored may have
                # made them in another order.
                known, stored = stored, await self._find_stored(batch)
                if len(stored) == len(known):
                    raise
            else:
                self._may_be_stored = bool(stored)
                return len(batch.rows) - len(stored)

    async def _find_stored(self, batch: Batch) -> dict[int, int]:
        """The versions of the stored events, by place in the batch. Raises EventIdReused."""
        columns = _columns((row.columns for row in batch.rows), width=6)
        rows = await self._connection.execute(_STORED, columns, prepare=False)
        stored = {}
        async for number, version, is_same in rows:
            if not is_same:
                event_id, line = batch.rows[number - 1].event_id, batch.numbers[number - 1]
                raise EventIdReused(f"line {line}: the event id {event_id} is stored already, with other content")
            stored[number - 1] = version
        return stored

    async def _store_missing(self, batch: Batch, stored: dict[int, int]) -> None:
        keys = [row.stream for row in batch.rows]
        versions = await self._streams.versions(dict.fromkeys(keys))
        for place, version in stored.items():
            versions[keys[place]] = max(versions[keys[place]], version)
        missing = [place for place in range(len(keys)) if place not in stored]
        rows = [batch.rows[place] for place in missing]
        # An event that an archive holds would be taken for one that was never stored.
        await raise_if_any_archived(self._connection, dict.fromkeys(keys[place] for place in missing))
        try:
            await self._copy(rows, versions)
        except psycopg.Error as error:
            raise _named(error, [batch.numbers[place] for place in missing]) from None
        self._streams.reached(versions)

    async def _copy(self, rows: Sequence[Row], versions: dict[_Key, int]) -> None:
        """Insert the rows in a transaction of their own, and count the versions on."""
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            if tagged := [row.event_id for row in rows if _TAGS in row.metadata]:
                await cursor.execute(_KEEP_QUERIES_OUT)
            await cursor.execute(_NOT_ON_RECORD)
            async with cursor.copy(_COPY) as copy:
                for first in range(0, len(rows), _BLOCK):
                    block = rows[first : first + _BLOCK]
                    await copy.write(_text([(row, _next(versions, row.stream)) for row in block]))
            if tagged:
                await cursor.execute(_INDEX_TAGS, (tagged,))


def _next(versions: dict[_Key, int], key: _Key) -> int:
    versions[key] = version = versions[key] + 1
    return version


def _text(numbered: Sequence[tuple[Row, int]]) -> str:
    """Rows with their versions as COPY reads them; the driver, value after value, takes three times as long."""
    text = "".join(
        [
            f"{row.event_id}\t{row.aggregate_type}\t{row.aggregate_id}\t{row.event_type}\t{row.schema_version}\t"
            f"{row.event_data}\t{row.metadata}\t{version}\n"
            for row, version in numbered
        ]
    )
    if (text.count("\t"), text.count("\n"), text.count("\r")) == (7 * len(numbered), len(numbered), 0):
        return text.replace("\\", "\\\\")
    fields = [map(str, (*row.columns, row.metadata, version)) for row, version in numbered]
    return "".join("\t".join(field.translate(_ESCAPES) for field in each) + "\n" for each in fields)


def _columns(rows: Iterable[Sequence[Any]], *, width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[]] * width


def _named(error: psycopg.Error, numbers: Sequence[int]) -> Exception:
    """The server's error about a line, with the number of the line; any other error as it is."""
    found = _PLACE.search(error.diag.context or "")
    if found is None or isinstance(error, UniqueViolation):
        return error
    return InvalidImport([f"line {numbers[int(found[1]) - 1]}: {error.diag.message_primary}"])

"""Archiving and restoring: the events of closed streams go to a file, and come back. docs/decisions/0062

A file is complete and read back before the first event leaves; then each stream leaves in a transaction of its own. If
that is interrupted, `continue_archiving` goes on, or `restore_streams` puts all back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from counteract.errors import InvalidArchive, StoreError
from counteract.messages import StreamId
from counteract.printable import printable
from counteract.store.archive.file import Digest, NewArchive, archived_streams, check_archive, new_archive
from counteract.store.postgres.archived import raise_if_archived
from counteract.store.postgres.connect import APP_ROLE, Connection, connect_directly
from counteract.store.postgres.driver_errors import translated
from counteract.store.postgres.names import REBUILD
from counteract.store.stored import PAGE_BYTES, WEIGHT

_PAGE = 1000
"""The most events in memory at once; fewer, where they are large."""

_MAY_DELETE = "select has_table_privilege('events', 'delete')"
_IDLE = """
    select last.aggregate_id, last.version
    from (
        select distinct on (aggregate_id) aggregate_id, version, created_at
        from events where aggregate_type = %s
        order by aggregate_id, version desc
    ) as last
    where last.version > 1 and last.created_at < clock_timestamp() - %s
      and not exists (
        select from archived_streams a where a.aggregate_type = %s and a.aggregate_id = last.aggregate_id)
"""
_VERSION = "select version from events where aggregate_type = %s and aggregate_id = %s order by version desc limit 1"
_LINES = f"""
    select version, event_line(e) from (
        select position, weight, sum(weight) over (order by version rows unbounded preceding) as bytes
        from (
            select position, version, {WEIGHT} as weight from events
            where aggregate_type = %s and aggregate_id = %s and version > %s and version < %s
            order by version limit %s
        ) as page
    ) as weighed join events e using (position) where bytes - weight < {PAGE_BYTES} order by version
"""  # noqa: S608 - constants
_REQUIRE_PAST = "select require_past(%s, %s, %s)"
_ARCHIVE = "select archive_stream(%s, %s, %s, %s, %s)"

# These events have been through the projections of then, and the sagas that they tell of are over.
_AS_IT_WAS = "select set_config('counteract.inline', '{*}', true), set_config('counteract.on_record', 'no', true)"
# The lock that an append of the stream takes, which is another one in each schema.
_TAKE_TURN = """
    select pg_advisory_xact_lock(hashtextextended(%s, hashtextextended(
        %s, case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end)))
"""
_FORGET_RECORD = "delete from archived_streams where aggregate_type = %s and aggregate_id = %s returning digest, file"
_DIGEST = "select stream_digest(%s, %s, %s)"
# Through jsonb, which keeps every digit.
_PUT_BACK = """
    insert into events (
        position, event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata, created_at)
    overriding system value
    select (line ->> 'position')::bigint, (line ->> 'event_id')::uuid, line ->> 'aggregate_type', line ->> 'aggregate_id',
           (line ->> 'version')::integer, line ->> 'event_type', (line ->> 'schema_version')::smallint,
           line -> 'event_data', line -> 'metadata', (line ->> 'created_at')::timestamptz
    from unnest(%s::jsonb[]) as line
"""
# Rebuilds are filled from the log, and may have passed the positions. A rebuild that goes on finds no checkpoint, and
# begins anew.
_END_REBUILDS = """
    delete from subscriptions s using pg_tables t
    where right(s.name, length(%(ending)s)) = %(ending)s
      and t.schemaname = %(schema)s and t.tablename = replace(left(s.name, -length(%(ending)s)), '-', '_')
"""


class Chosen(Protocol):
    """A choice of the streams to archive."""

    async def among(self, connection: Connection) -> Sequence[tuple[StreamId, int]]:
        """The chosen streams with their versions. Raises StoreError for one that cannot be archived."""
        ...


@dataclass(frozen=True, slots=True)
class Idle:
    """The streams of a category whose last event is older than `idle_for`, and that are not archived already."""

    category: str
    idle_for: timedelta

    async def among(self, connection: Connection) -> Sequence[tuple[StreamId, int]]:
        """The chosen streams with their versions."""
        parameters = (self.category, self.idle_for, self.category)
        rows = await (await connection.execute(_IDLE, parameters)).fetchall()
        return [(StreamId(self.category, aggregate_id), version) for aggregate_id, version in rows]


@dataclass(frozen=True, slots=True)
class Named:
    """These streams, and no others."""

    streams: Sequence[StreamId]

    async def among(self, connection: Connection) -> Sequence[tuple[StreamId, int]]:
        """The streams with their versions. Raises StoreError for one without events or with one event only,
        StreamArchived.
        """
        return [(stream, await self._version(connection, stream)) for stream in dict.fromkeys(self.streams)]

    async def _version(self, connection: Connection, stream: StreamId) -> int:
        await raise_if_archived(connection, stream)
        row = await (await connection.execute(_VERSION, stream)).fetchone()
        if not row:
            raise StoreError(f"there is no stream {printable(stream)}")
        if row[0] == 1:
            raise StoreError(f"{printable(stream)} has one event only, and the last one of a stream is not archived")
        return int(row[0])


@dataclass(slots=True)
class Archived:
    """The outcome of an archiving."""

    streams: int = 0
    events: int = 0
    left: int = 0
    """The streams that are in the file and stay in the store: something was appended to them meanwhile."""


@dataclass(slots=True)
class Restored:
    """The outcome of a restore."""

    streams: int = 0
    events: int = 0
    present: int = 0
    """The streams that were there already."""


async def archive_streams(url: str, chosen: Chosen, file: Path) -> Archived:
    """Write all events of the streams but the last of each to a file, then remove them from the store. No streams: no
    file.

    Connect as the owner of the tables. Streams that a subscription has yet to read are refused. Raises StoreError,
    InvalidArchive for a name that is taken, StoreUnavailable.
    """
    async with _connected(url) as connection:
        if not (streams := await chosen.among(connection)):
            return Archived()
        with new_archive(file) as archive:
            for stream, version in streams:
                await _write(connection, stream, version, archive)
        return await _let_go(connection, file)


async def continue_archiving(url: str, file: Path) -> Archived:
    """Go on with a file that was written before: its streams leave the store, as far as they are still as in the file.

    Raises as `archive_streams`.
    """
    async with _connected(url) as connection:
        return await _let_go(connection, file)


async def restore_streams(url: str, file: Path) -> Restored:
    """Put the events of a file back, each at its own position and version. Safe to repeat.

    Connect as the owner of the tables. Each stream is put back in a transaction of its own, or not at all, and is
    compared with the file. A rebuild that has begun begins anew, for it may have passed their positions. Raises
    InvalidArchive, StoreUnavailable.
    """
    async with _connected(url) as connection:
        check_archive(file)
        done = Restored()
        for stream, lines in archived_streams(file):
            events, was_archived = await _put_back(connection, stream, lines)
            done.streams += was_archived
            done.events += events if was_archived else 0
            done.present += not was_archived
        return done


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    with translated():
        async with await connect_directly(url, "archiving") as connection:
            row = await (await connection.execute(_MAY_DELETE)).fetchone()
            if row != (True,):
                raise StoreError(
                    "archives are made and restored by the owner of the tables, who also migrates: "
                    f"connect as the owner, not as {APP_ROLE}"
                )
            # A long stream takes longer than any statement of an application may.
            await connection.execute("select set_config('statement_timeout', '0', false)")
            yield connection


async def _write(connection: Connection, stream: StreamId, version: int, archive: NewArchive) -> None:
    # archive_stream asks again. Here all streams are asked about before the first leaves.
    await connection.execute(_REQUIRE_PAST, (*stream, version - 1))
    last = 0
    while rows := await (await connection.execute(_LINES, (*stream, last, version, _PAGE))).fetchall():
        archive.add(line for _, line in rows)
        last = rows[-1][0]


async def _let_go(connection: Connection, file: Path) -> Archived:
    check_archive(file)
    done = Archived()
    for stream, lines in archived_streams(file):
        digest = _digest(lines)
        parameters = (*stream, digest.events, digest.value, file.name)
        row = await (await connection.execute(_ARCHIVE, parameters)).fetchone()
        if row == (True,):
            done.streams += 1
            done.events += digest.events
        else:
            done.left += 1
    return done


def _digest(lines: Iterable[bytes]) -> Digest:
    digest = Digest()
    for line in lines:
        digest.add(line)
    return digest


def _page(lines: Iterator[bytes]) -> Sequence[bytes]:
    page: list[bytes] = []
    size = 0
    while size < PAGE_BYTES and len(page) < _PAGE and (line := next(lines, None)):
        page.append(line)
        size += len(line)
    return page


async def _put_back(connection: Connection, stream: StreamId, lines: Iterator[bytes]) -> tuple[int, bool]:
    """The number of events that the file has of the stream, and whether the stream was archived."""
    digest = Digest()
    async with connection.transaction():
        await connection.execute(_AS_IT_WAS)
        await connection.execute(_TAKE_TURN, (stream.aggregate_id, stream.aggregate_type))
        record = await (await connection.execute(_FORGET_RECORD, stream)).fetchone()
        while page := _page(lines):
            for line in page:
                digest.add(line)
            if record:
                await connection.execute(_PUT_BACK, ([line.decode() for line in page],))
        if record and record[0] != digest.value:
            raise InvalidArchive(
                f"{printable(stream)} is archived in {record[1]} with other events than here: restore that file"
            )
        stored = await (await connection.execute(_DIGEST, (*stream, digest.events))).fetchone()
        if stored != (digest.value,):
            raise InvalidArchive(f"{printable(stream)} has other events than its archive, and is not archived itself")
        if record:
            await connection.execute(_END_REBUILDS, {"ending": REBUILD, "schema": connection.store.rebuild})
    return digest.events, bool(record)

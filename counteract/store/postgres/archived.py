"""The record of archived streams, for readers that find events missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Never

from counteract.errors import StreamArchived, StreamIncomplete
from counteract.messages import StreamId
from counteract.printable import printable
from counteract.store.postgres.connect import Connection

_RECORD = "select last_version, file from archived_streams where aggregate_type = %s and aggregate_id = %s"
_RECORD_SINCE = f"{_RECORD} and first_position <= %s"
_ANY_OF = """
    select a.aggregate_type, a.aggregate_id, a.last_version, a.file
    from unnest(%s::text[], %s::text[]) as given (aggregate_type, aggregate_id)
    join archived_streams a using (aggregate_type, aggregate_id)
    limit 1
"""
_COUNT_AFTER = "select count(*) from archived_streams where last_position > %s"
_AT_ANY = 2**63 - 1
_AT = """
    select aggregate_type, aggregate_id, last_version, file from archived_streams
    where %s between first_position and last_position order by last_position - first_position limit 1
"""


async def raise_if_archived(connection: Connection, stream: StreamId, *, position: int = _AT_ANY) -> None:
    """Raises StreamArchived for a stream of which events up to this position (by default, any) are archived."""
    row = await (await connection.execute(_RECORD_SINCE, (*stream, position))).fetchone()
    if row:
        raise StreamArchived(stream, version=row[0], file=row[1])


async def raise_if_any_archived(connection: Connection, streams: Iterable[tuple[str, str]]) -> None:
    """Raises StreamArchived for one of the streams, if any is archived."""
    if not (wanted := list(streams)):
        return
    types, ids = zip(*wanted, strict=True)
    row = await (await connection.execute(_ANY_OF, (list(types), list(ids)), prepare=False)).fetchone()
    if row:
        raise StreamArchived(StreamId(*row[:2]), version=row[2], file=row[3])


async def raise_if_archived_after(connection: Connection, stream: StreamId, version: int) -> None:
    """Raises StreamArchived for a stream with archived events after this version."""
    row = await (await connection.execute(_RECORD, stream)).fetchone()
    if row and row[0] > version:
        raise StreamArchived(stream, version=row[0], file=row[1])


async def is_archived_up_to(connection: Connection, stream: StreamId, version: int) -> bool:
    """Whether the stream's event of that version is archived."""
    row = await (await connection.execute(_RECORD, stream)).fetchone()
    return bool(row and row[0] >= version)


async def raise_missing(connection: Connection, stream: StreamId, after_version: int) -> Never:
    """Report that wanted events after a version are not there. Raises StreamArchived, else StreamIncomplete."""
    await raise_if_archived_after(connection, stream, after_version)
    raise StreamIncomplete(
        f"{printable(stream)} lacks events after version {after_version}, and they are not on record as archived: read again, and "
        "if they stay away, see with `counteract store verify` what else does, and restore a backup"
    )


async def raise_missing_at(connection: Connection, position: int) -> Never:
    """Report that a wanted event at a position is not there.

    Raises StreamArchived, which may name another stream whose archived events surround the position, else
    StreamIncomplete.
    """
    row = await (await connection.execute(_AT, (position,))).fetchone()
    if row:
        raise StreamArchived(StreamId(*row[:2]), version=row[2], file=row[3])
    raise StreamIncomplete(f"the event at position {position} has tags and is not there: restore a backup")


async def count_archived(connection: Connection, *, after: int = 0) -> int:
    """The number of streams with archived events after a position of the log."""
    row = await (await connection.execute(_COUNT_AFTER, (after,))).fetchone()
    return int(row[0]) if row else 0

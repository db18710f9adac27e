"""Earlier moments: which version a stream had at a position of the log, and which position the log had at a time."""

from __future__ import annotations

from datetime import datetime

from counteract.errors import NoSuchVersion
from counteract.messages import StreamId
from counteract.printable import printable
from counteract.store.limits import check_stream
from counteract.store.moment import AtPosition, AtVersion, with_zone
from counteract.store.postgres.archived import raise_if_archived
from counteract.store.postgres.connect import Connection

_POSITION_AT = "select position_at(%s)"
_VERSION_AT_POSITION = (
    "select version from events where aggregate_type = %s and aggregate_id = %s and position <= %s "
    "order by version desc limit 1"
)
_VERSION = (
    "select version from events where aggregate_type = %s and aggregate_id = %s and version <= %s "
    "order by version desc limit 1"
)


async def position_at(connection: Connection, time: datetime, mark: int) -> int:
    """The last position that was recorded by that time, at most `mark`. Raises ValueError for a time without a zone."""
    row = await (await connection.execute(_POSITION_AT, (with_zone(time),))).fetchone()
    return min(mark, int(row[0])) if row else 0


async def version_at(connection: Connection, stream: StreamId, moment: AtVersion | AtPosition) -> int:
    """The stream's version at a moment; 0 if it did not exist.

    Raises NoSuchVersion for a version that it has not reached, StreamArchived.
    """
    check_stream(stream)
    if isinstance(moment, AtPosition):
        version = await _fetch_version(connection, _VERSION_AT_POSITION, (*stream, moment.position))
        if not version:
            await raise_if_archived(connection, stream, position=moment.position)
        return version
    version = await _fetch_version(connection, _VERSION, (*stream, moment.version))
    if version != moment.version:
        if not version:
            await raise_if_archived(connection, stream)
        raise NoSuchVersion(f"{printable(stream)} is at version {version}, and was never at {moment.version}")
    return version


async def _fetch_version(connection: Connection, query: str, parameters: tuple[object, ...]) -> int:
    row = await (await connection.execute(query, parameters)).fetchone()
    return int(row[0]) if row else 0

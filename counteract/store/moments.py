"""Earlier states: which version a stream had at a position of the log or at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from counteract.errors import NoSuchVersion
from counteract.messages import StreamId
from counteract.printable import printable
from counteract.store.archives import raise_if_archived
from counteract.store.checking import check_stream
from counteract.store.connecting import Connection

_POSITION_AT = "select position_at(%s)"
_VERSION_AT_POSITION = (
    "select version from events where aggregate_type = %s and aggregate_id = %s and position <= %s "
    "order by version desc limit 1"
)
_VERSION = (
    "select version from events where aggregate_type = %s and aggregate_id = %s and version <= %s "
    "order by version desc limit 1"
)


@dataclass(frozen=True, slots=True)
class AtVersion:
    """When the stream was at this version; 0 is before its first event."""

    version: int


@dataclass(frozen=True, slots=True)
class AtPosition:
    """When the log had come to this position. The same one for several streams shows them at the same moment."""

    position: int


Moment = AtVersion | AtPosition | datetime


async def position_at(connection: Connection, time: datetime, mark: int) -> int:
    """The last position that was recorded by then, at most `mark`. Raises ValueError for a time without a zone."""
    row = await (await connection.execute(_POSITION_AT, (with_zone(time),))).fetchone()
    return min(mark, int(row[0])) if row else 0


def with_zone(time: datetime) -> datetime:
    """The time itself. Raises ValueError for one without a zone."""
    if time.utcoffset() is None:
        raise ValueError("a time needs its zone, as in datetime.now(UTC): without one nobody knows when it was")
    return time


async def version_at(connection: Connection, stream: StreamId, moment: AtVersion | AtPosition) -> int:
    """The stream's version then, 0 if it did not exist. Raises NoSuchVersion for one that it has not reached, StreamArchived."""
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

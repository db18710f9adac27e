"""A moment in the past of a stream: one of its versions, a position of the log, or a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AtVersion:
    """The moment at which the stream was at this version; 0 is before its first event."""

    version: int


@dataclass(frozen=True, slots=True)
class AtPosition:
    """The moment at which the log had come to this position. One position shows several streams at the same moment."""

    position: int


Moment = AtVersion | AtPosition | datetime


def with_zone(time: datetime) -> datetime:
    """The time as it was given. Raises ValueError for one without a zone."""
    if time.utcoffset() is None:
        raise ValueError("a time needs its zone, as in datetime.now(UTC): without one nobody knows when it was")
    return time

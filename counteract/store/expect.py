"""Expectations: the versions at which a stream may be for an append to go through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from counteract.messages import Event, StreamId

_ANY_VERSION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Expect:
    """The least and the most version that a stream may have for an append to go through."""

    least: int
    most: int

    def __str__(self) -> str:
        if self.most == _ANY_VERSION:
            return "an existing stream" if self.least else "any version"
        if self.most == 0:
            return "no stream"
        return f"version {self.least}" + (f" to {self.most}" if self.most != self.least else "")


class ExactVersion(Expect):
    """The stream has this version: nothing was appended since it was loaded. 0: the stream does not exist."""

    __slots__ = ()

    def __init__(self, version: int) -> None:
        super().__init__(version, version)


NO_STREAM = Expect(0, 0)
"""The stream has no events yet."""
STREAM_EXISTS = Expect(1, _ANY_VERSION)
"""The stream has at least one event."""
ANY = Expect(0, _ANY_VERSION)
"""The stream may have any version, or not exist. Writers still take turns."""


@dataclass(frozen=True, slots=True)
class StreamChange:
    """Events for one stream, which must be at a version from `least` to `most`. Without events it is only checked."""

    stream: StreamId
    least: int
    most: int
    events: Sequence[Event] = ()

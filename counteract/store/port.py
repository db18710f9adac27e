"""The port: what every event store guarantees. `counteract.testing.StoreContract` holds an adapter to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from counteract.decider import Decider
from counteract.messages import Event, StreamId
from counteract.store.expect import Expect, StreamChange
from counteract.store.moment import Moment
from counteract.store.stored import StoredEvent
from counteract.store.terms import Checkpoint, Found, Query, Since

S = TypeVar("S")
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Appended:
    """The version and the positions at which an append left its stream."""

    version: int
    """The stream's version."""
    position: int
    """The position of the last event appended, which a projection must reach to show it; 0 if there was none."""
    positions: Sequence[int] = ()
    """The positions of all events appended, in their order."""

    @classmethod
    def at(cls, version: int, positions: Sequence[int]) -> Appended:
        """The answer for a stream that is at this version, with new events at these positions, in their order."""
        return cls(version, positions[-1] if positions else 0, tuple(positions))


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """An aggregate as its events leave it."""

    state: S
    version: int
    """0 if it has no events."""
    stream: StreamId


class EventStore(Protocol):
    """Streams of events, and one global order over all of them. Nothing that was acknowledged is lost or changed.

    Safe to use from many tasks of one event loop. Errors are those of `counteract.errors`; after any of them but
    StoreUnavailable nothing was appended. StoreUnavailable leaves that open: repeat the call with the same `event_ids`.
    """

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
        """Append all events or none, in the order given, at versions without holes, where the stream is as expected.

        - Of concurrent writers with one expected version one succeeds. With `ANY` all do, in some order.
        - The same event ids with the same content again are a repeat: nothing is appended, and the answer is that of
          the first append, whatever was appended since. Metadata is not compared.
        - Integers of up to 4300 digits, floats and text come back exactly; a negative zero as zero.
        - Without events the stream is only checked.
        - Nothing is appended if the query of `unless` finds an event after its position, in whatever stream. Of two
          writers of which each appends what the other's query finds, one succeeds.
        - A `checkpoint` moves on in the same transaction, or nothing is appended.

        Raises WrongExpectedVersion; BoundaryChanged; CheckpointPassed; EventIdReused for an id that is stored with
        other content, that is stored while others of the call are new, or that is given twice; InvalidEvent for what
        cannot be stored and read again: U+0000, text that is not UTF-8, NaN, infinities, nesting beyond 199 levels,
        over-long ids and events, in events, metadata and stream ids alike; AppendTooLarge for more than 10 000 events,
        or more than 16 MiB.
        """
        ...

    async def append_many(
        self,
        changes: Sequence[StreamChange],
        *,
        metadata: Mapping[str, Any] | None = None,
        event_ids: Sequence[UUID] | None = None,
        unless: Since | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Sequence[Appended]:
        """Append to several streams, to all or none: as `append`, with an answer for each change.

        `event_ids` are those of the events of all changes, in order. A change without events only checks its stream:
        nobody can append to it until the others are stored. Without any change, only a checkpoint moves on. Raises
        AppendTooLarge for more than 256 streams as well, ValueError where a stream is named twice.
        """
        ...

    async def load(self, decider: Decider[S, E], aggregate_id: str, *, at: Moment | None = None) -> Loaded[S]:
        """Fold the stream's events: all of them, or up to a version, a position of the log, or a time (with its zone).

        Raises UnknownEventType, UnreadableEvent, NoSuchVersion, StreamArchived where the events are needed that an
        archive holds, and InvalidEvent for an impossible id.
        """
        ...

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

        Raises StreamArchived, and InvalidEvent for an impossible id.
        """
        ...

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
        is the end.

        Positions increase, with holes; events of one stream have them in the order of their versions. By default
        everything is there that was committed when the call began, and a reader that goes on from the last position
        that it read misses nothing. `up_to` must be a high water mark that was confirmed, or below one.

        `category` (the aggregate type), `event_types` and `correlation_id` (of the metadata) together select events; a
        `query` selects alone. `backwards` gives the last of them, the newest first.
        """
        ...

    async def find(self, query: Query, *, after: int = 0) -> Found:
        """All events that the query finds after a position, and the position up to which these are all: to decide by.

        Raises StreamArchived where one of them has tags and is archived. Archived events that would be found by their
        types alone are left out.
        """
        ...

    async def checkpoint(self, name: str) -> int:
        """The position of a consumer's checkpoint; 0 if it has none."""
        ...

    async def high_water_mark(self, *, timeout: float = 30.0) -> int:  # noqa: ASYNC109 - the error says what was waited for
        """A position, at or beyond those of all appends that have returned, up to which the global order is settled.

        0 where there is none. Raises StoreUnavailable when an append is still under way after `timeout` seconds.
        """
        ...

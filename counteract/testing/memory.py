"""An event store without a server, for unit tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from msgspec.structs import replace

from counteract.decider import Decider
from counteract.decoding import decode_event
from counteract.errors import (
    BoundaryChanged,
    CheckpointPassed,
    EventIdReused,
    NoSuchVersion,
    UndecodableEvent,
    WrongExpectedVersion,
)
from counteract.messages import Event, StreamId
from counteract.store.expect import Expect, StreamChange
from counteract.store.limits import check_stream, check_tags
from counteract.store.moment import AtPosition, AtVersion, Moment, with_zone
from counteract.store.port import Appended, Loaded
from counteract.store.postgres.append import MAX_EVENT_BYTES, append_arguments
from counteract.store.stored import StoredEvent
from counteract.store.terms import Checkpoint, Found, Query, Since

S = TypeVar("S")
E = TypeVar("E", bound=Event)


class InMemoryEventStore:
    """Keeps the promises of `EventStore`, those about durability excepted, and refuses what PostgreSQL refuses.

    Every call lets other tasks run first, as one to a server would, so that a race shows in a unit test too.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._log: list[StoredEvent] = []
        self._streams: dict[StreamId, list[StoredEvent]] = {}
        self._by_id: dict[UUID, StoredEvent] = {}
        self._checkpoints: dict[str, int] = {}

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
        """Does as `EventStore.append` says."""
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
        """Does as `EventStore.append_many` says."""
        arguments = append_arguments(changes, metadata or {}, event_ids, max_event_bytes=self._max_event_bytes)
        await asyncio.sleep(0)
        new = _events(changes, arguments)
        if any(each.event_id in self._by_id for each in new):
            for each in new:
                _refuse_other_content(each, self._by_id.get(each.event_id))
            if checkpoint is not None and self._kept_by(checkpoint) is None:
                self._checkpoints[checkpoint.name] = checkpoint.position
        else:
            if unless is not None:
                check_tags(len({tag for each in new for tag in each.tags}), len(unless.query.items))
            self._check_terms(unless, checkpoint)
            for change in changes:
                self._check(change)
            _refuse_twins(new)
            for each in new:
                self._store(each)
            if checkpoint is not None:
                self._checkpoints[checkpoint.name] = checkpoint.position
        return [self._answer(change.stream, {each.event_id for each in new}) for change in changes]

    async def load(self, decider: Decider[S, E], aggregate_id: str, *, at: Moment | None = None) -> Loaded[S]:
        """Does as `EventStore.load` says."""
        stream = decider.stream(aggregate_id)
        events = _until(at, await self.read_stream(stream))
        if isinstance(at, AtVersion) and len(events) != at.version:
            raise NoSuchVersion(f"{stream} is at version {len(events)}, and was never at {at.version}")
        state = decider.fold(_decoded(decider, each) for each in events)
        return Loaded(state, len(events), stream)

    async def read_stream(
        self,
        stream: StreamId,
        *,
        after_version: int = 0,
        before_version: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> Sequence[StoredEvent]:
        """Does as `EventStore.read_stream` says."""
        check_stream(stream)
        await asyncio.sleep(0)
        before = [
            each
            for each in self._streams.get(stream, [])[after_version:]
            if before_version is None or each.version < before_version
        ]
        return (before[::-1] if backwards else before)[:limit]

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
        """Does as `EventStore.read` says."""
        if query is not None and (category, event_types, correlation_id) != (None, None, None):
            raise ValueError(
                "a query selects by itself: give it the types, and neither a category nor a correlation_id"
            )
        end = await self.high_water_mark() if up_to is None else up_to
        selected = [
            each
            for each in self._log[after:end]
            if category in (None, each.stream.aggregate_type)
            and (event_types is None or each.event_type in event_types)
            and correlation_id in (None, each.metadata.get("correlation_id"))
            and (query is None or query.finds(each))
        ]
        return (selected[::-1] if backwards else selected)[: 1000 if limit is None else limit]

    async def find(self, query: Query, *, after: int = 0) -> Found:
        """Does as `EventStore.find` says."""
        check_tags(0, len(query.items))
        end = await self.high_water_mark()
        return Found([each for each in self._log[after:end] if query.finds(each)], query.since(end))

    async def checkpoint(self, name: str) -> int:
        """Does as `EventStore.checkpoint` says."""
        await asyncio.sleep(0)
        return self._checkpoints.get(name, 0)

    async def high_water_mark(self, *, timeout: float = 30.0) -> int:  # noqa: ASYNC109 - as in the port
        """Does as `EventStore.high_water_mark` says, without ever having to wait."""
        await asyncio.sleep(0)
        return len(self._log)

    def _check_terms(self, unless: Since | None, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None and (kept := self._kept_by(checkpoint)) is not None:
            raise CheckpointPassed(checkpoint.name, kept)
        if unless is not None:
            for each in self._log[unless.position :]:
                if unless.query.finds(each):
                    raise BoundaryChanged(each.position)

    def _kept_by(self, checkpoint: Checkpoint) -> int | None:
        """Where it stays, since it is not before the new position, or not where it was expected."""
        kept = self._checkpoints.get(checkpoint.name, 0)
        return kept if kept >= checkpoint.position or checkpoint.after not in (None, kept) else None

    def _check(self, change: StreamChange) -> None:
        actual = len(self._streams.get(change.stream, []))
        if not change.least <= actual <= change.most:
            raise WrongExpectedVersion(change.stream, expected=str(Expect(change.least, change.most)), actual=actual)

    def _store(self, event: StoredEvent) -> None:
        stream = self._streams.setdefault(event.stream, [])
        event = replace(event, position=len(self._log) + 1, version=len(stream) + 1, recorded_at=datetime.now(UTC))
        stream.append(event)
        self._log.append(event)
        self._by_id[event.event_id] = event

    def _answer(self, stream: StreamId, ids: AbstractSet[UUID]) -> Appended:
        events = self._streams.get(stream, [])
        mine = [each for each in events if each.event_id in ids]
        return Appended.at(mine[-1].version if mine else len(events), [each.position for each in mine])


def _until(at: Moment | None, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
    match at:
        case None:
            return events
        case AtVersion(version):
            return events[:version]
        case AtPosition(position):
            return [each for each in events if each.position <= position]
        case datetime():
            time = with_zone(at)
            return [each for each in events if each.recorded_at <= time]


def _decoded(decider: Decider[Any, E], stored: StoredEvent) -> E:
    try:
        return decode_event(decider.readers, stored.event_type, stored.schema_version, stored.data)
    except UndecodableEvent as error:
        raise error.at(stored.stream, stored.version) from None


def _events(changes: Sequence[StreamChange], arguments: Sequence[Any]) -> list[StoredEvent]:
    """Not stored yet: without version and position."""
    never = datetime.min.replace(tzinfo=UTC)
    return [
        StoredEvent.of(
            position=0,
            event_id=event_id,
            stream=changes[index - 1].stream,
            version=0,
            event_type=event_type,
            schema_version=version,
            data=data,
            metadata=json.loads(metadata),
            recorded_at=never,
        )
        for index, event_id, event_type, version, data, metadata in zip(*arguments[4:], strict=True)
    ]


def _refuse_other_content(event: StoredEvent, stored: StoredEvent | None) -> None:
    if stored is None or _content(event) != _content(stored):
        raise EventIdReused(
            f"event ids are stored already, but not {event.event_id} with this content: give a new event an id of its own"
        )


def _content(event: StoredEvent) -> tuple[Any, ...]:
    data = json.loads(event.data, parse_float=_number, parse_int=_number)
    return event.stream, event.event_type, event.schema_version, data


def _number(text: str) -> tuple[Decimal]:
    """By value and without loss, as PostgreSQL compares numbers, and never equal to true or false."""
    return (Decimal(text),)


def _refuse_twins(events: Sequence[StoredEvent]) -> None:
    if len({each.event_id for each in events}) != len(events):
        raise EventIdReused("an append gives one event id twice: give a new event an id of its own")

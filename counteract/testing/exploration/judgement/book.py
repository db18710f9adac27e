"""Holds the streams of the store against what the handlers appended: nothing is dropped, doubled, changed or made up.

Events are told apart by stream, type and data alone: a fault may have lost the metadata that says whose an event is.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from counteract.decider import Decider
from counteract.errors import CounteractError
from counteract.messages import Event, StreamId
from counteract.store import EventDecoder, PostgresEventStore
from counteract.testing.exploration.worker.witness import Witnessed

# An original that its settlement found to have happened is done without events of its own: the settlement has them.
_DONE = """
    select c.command_id from commands c where c.command_id = any(%s) and c.status = 'done'
      and not exists (select from commands s where s.undoes = c.command_id and s.status = 'done'
                                               and s.result ->> 'happened' = 'true')
"""
_Entry = tuple[str, str]
"""An event's type and data, to be compared."""


@dataclass(slots=True)
class _Line:
    """One stream that handlers have loaded."""

    decider: Decider[Any, Any]
    since: int
    """The first version that was loaded; events up to it are not judged."""
    runs: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Book:
    """A record of what the handlers of all runs have loaded and appended. It is a `Recorder`."""

    store: PostgresEventStore
    _written: list[Witnessed] = field(default_factory=list)
    _lines: dict[StreamId, _Line] = field(default_factory=dict)
    _forgotten: set[UUID] = field(default_factory=set)
    """The commands of which the store has lost the row: only their events are left."""

    def loaded(self, run: str, decider: Decider[Any, Any], stream: StreamId, version: int) -> None:
        line = self._lines.setdefault(stream, _Line(decider, version))
        line.since = min(line.since, version)
        line.runs.add(run)

    def witnessed(self, told: Witnessed) -> None:
        if told.appended:
            self._written.append(told)

    def forgotten(self, command_id: UUID) -> None:
        self._forgotten.add(command_id)

    async def of(self, run: str) -> list[str]:
        """The differences in the streams that no other run has touched."""
        return await self._wrong([stream for stream, line in self._lines.items() if line.runs == {run}])

    async def of_all(self) -> list[str]:
        """The differences in the streams that several runs have touched; to be asked once no run is under way."""
        return await self._wrong([stream for stream, line in self._lines.items() if len(line.runs) > 1])

    async def _wrong(self, streams: Collection[StreamId]) -> list[str]:
        mine = set(streams)
        own: dict[StreamId, dict[UUID, list[Sequence[_Entry]]]] = defaultdict(lambda: defaultdict(list))
        for told in self._written:
            for stream in {each.stream for each in told.appended} & mine:
                events = [_entry_of(each.event) for each in told.appended if each.stream == stream]
                own[stream][told.own].append(events)
        done = await self._done({each for written in own.values() for each in written})
        found: list[str] = []
        for stream in mine:
            stored = await self._stored(stream)
            found += _differences(stream, stored, own[stream], done)
        return found

    async def _done(self, ids: Collection[UUID]) -> set[UUID]:
        async with self.store.connection() as connection:
            rows = await (await connection.execute(_DONE.encode(), (list(ids),))).fetchall()
        return {row[0] for row in rows} | (self._forgotten & set(ids))

    async def _stored(self, stream: StreamId) -> list[_Entry]:
        line = self._lines[stream]
        decoder: EventDecoder[Event] = EventDecoder(line.decider.event_classes)
        stored = await self.store.read_stream(stream, after_version=line.since)
        return [_decoded(decoder, each) for each in stored]


def _differences(
    stream: StreamId, stored: Sequence[_Entry], written: dict[UUID, list[Sequence[_Entry]]], done: Collection[UUID]
) -> Iterator[str]:
    """The differences between a stream's events and what was appended to it, in words.

    Each command that is done should have its events there, once, in their order and together; no other should have any.
    """
    left = list(stored)
    for command, attempts in written.items():
        if command not in done:
            continue
        # What was decided anew after a conflict may differ from what came before: one of them is recorded.
        at, events = next(
            ((at, each) for each in attempts if (at := _found(each, left)) is not None), (None, attempts[-1])
        )
        if at is None:
            yield f"{_named(events)} was appended to {stream}, and is not stored as it was"
        else:
            del left[at : at + len(events)]
    known = {entry for attempts in written.values() for events in attempts for entry in events}
    for entry in left:
        if entry in known:
            yield f"{entry[0]} is stored in {stream} once more than it was recorded"


def _entry_of(event: Event) -> _Entry:
    """The event, as it is compared."""
    return event.event_type, json.dumps(event.model_dump(mode="json"), sort_keys=True)


def _decoded(decoder: EventDecoder[Event], stored: Any) -> _Entry:
    try:
        return _entry_of(decoder.decode(stored).event)
    except CounteractError as error:
        return stored.event_type, f"unreadable: {error}"


def _found(events: Sequence[_Entry], stored: Sequence[_Entry]) -> int | None:
    ends = range(len(stored) - len(events) + 1)
    return next((at for at in ends if list(stored[at : at + len(events)]) == list(events)), None)


def _named(events: Sequence[_Entry]) -> str:
    return ", ".join(name for name, _ in events)

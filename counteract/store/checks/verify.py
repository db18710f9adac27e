"""Verification of everything that is stored: no version is missing, and every event fits its contract and its class.

Memory is bounded however many events there are: events come page by page, in the global order, and versions are
compared where they are stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from jsonschema_rs import Draft202012Validator
from msgspec.structs import replace
from pydantic_core import to_json

from counteract.decider import Decider
from counteract.errors import PersonalDataLocked, UndecodableEvent
from counteract.messages import Event, StreamId
from counteract.mistakes import shown
from counteract.personal import FORGOTTEN
from counteract.printable import printable
from counteract.store.boxes import boxes, content_of, may_hold_boxes
from counteract.store.checks.snapshots import replayed_snapshots
from counteract.store.contracts.published import Key, Published
from counteract.store.postgres.connect import Connection, connect_directly
from counteract.store.postgres.driver_errors import translated
from counteract.store.postgres.high_water_mark import HighWaterMark
from counteract.store.postgres.read import read_page
from counteract.store.postgres.vault import Vault, opened_events
from counteract.store.stored import EventDecoder, StoredEvent

PAGE = 1000
"""The most events in memory at once."""

_PATIENCE = 30.0

# The rows of each stream come in the order of their versions, as its unique index has them: nothing is collected per
# stream.
_STREAMS = """
    select aggregate_type, aggregate_id, version, position, previous_version, previous_position
    from (
        select aggregate_type, aggregate_id, version, position,
               lag(version, 1, 0) over stream as previous_version,
               lag(position, 1, 0::bigint) over stream as previous_position
        from events
        window stream as (partition by aggregate_type, aggregate_id order by version)
    ) as each_event
    left join archived_streams a using (aggregate_type, aggregate_id)
    where (version <> previous_version + 1 or position <= previous_position)
      and (previous_version > 0 or version is distinct from a.last_version + 1)
"""
_ARCHIVED = """
    select a.aggregate_type, a.aggregate_id, a.last_version, exists (
        select from events e
        where e.aggregate_type = a.aggregate_type and e.aggregate_id = a.aggregate_id and e.version = a.last_version + 1)
    from archived_streams a
"""


class Trouble(StrEnum):
    """The kinds of what can be wrong."""

    HOLE = "hole"
    """A stream lacks versions, or does not begin with version 1."""
    ORDER = "order"
    """A stream's events have another order in the log than in the stream."""
    UNREADABLE = "unreadable"
    """Today's classes cannot read the event."""
    CONTRACT = "contract"
    """The event does not fit its published contract, or has none."""
    SNAPSHOT = "snapshot"
    """A snapshot is not what the stream's events lead to."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    trouble: Trouble
    stream: StreamId
    version: int
    position: int | None
    what: str
    """A description, without the event's data, which may be personal."""

    def __str__(self) -> str:
        place = f", position {self.position}" if self.position else ""
        return f"{self.trouble}: {printable(self.stream)}, version {self.version}{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of a verification."""

    events: int
    """The number of events looked at."""
    position: int
    """The position of the last of them."""
    snapshots: int
    """The number of snapshots replayed."""
    problems: Sequence[Problem]
    """The problems found since the step before."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The events, contracts and deciders of an application, which its store should fit."""

    classes: Sequence[type[Event]]
    published: Published
    deciders: Sequence[Decider[Any, Any]]


class Verification:
    """One pass over the events that were committed when it began. Reads only, and locks nothing that a writer needs.

    Without a `vault`, sealed personal data counts as forgotten, and everything around it is checked all the same.
    """

    def __init__(self, connection: Connection, expected: Expected, vault: Vault | None) -> None:
        self._connection = connection
        self._expected = expected
        self._decoder: EventDecoder[Event] = EventDecoder(expected.classes)
        self._conformance = Conformance(expected.published)
        self._vault = vault
        self.end = 0
        """The last position to look at, once `run` has begun."""
        self.archived = 0
        """Streams that begin where their archive ends, once `run` has come past the versions."""

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, expected: Expected, vault: Vault | None = None) -> AsyncIterator[Self]:
        """A verification on a connection of its own. Raises ConfigurationError, StoreUnavailable."""
        with translated():
            connection = await connect_directly(url, "verifying a store")
            async with connection:
                # A whole store takes longer than any statement of an application may.
                await connection.execute("select set_config('statement_timeout', '0', false)")
                yield cls(connection, expected, vault)

    async def run(self) -> AsyncIterator[Step]:
        """Check versions, then events, then snapshots. Raises StoreUnavailable, also where an append does not end."""
        self.end = await HighWaterMark(self._connection).settled(timeout=_PATIENCE)
        events = position = snapshots = 0
        async for problems in self._streams():
            yield Step(0, 0, 0, problems)
        while page := (await read_page(self._connection, after=position, up_to=self.end, limit=PAGE)).events:
            events, position = events + len(page), page[-1].position
            yield Step(events, position, 0, [problem async for problem in self._page(page)])
        async for stream, version, what in replayed_snapshots(self._connection, self._expected.deciders):
            snapshots += 1
            problems = [Problem(Trouble.SNAPSHOT, stream, version, None, what)] if what else []
            yield Step(events, position, snapshots, problems)

    async def _streams(self) -> AsyncIterator[Sequence[Problem]]:
        # The server keeps the cursor: where everything is wrong, its rows are as many as there are events.
        async with self._connection.transaction(), self._connection.cursor(name="counteract_streams") as cursor:
            await cursor.execute(_STREAMS)
            while rows := await cursor.fetchmany(PAGE):
                yield [_stream_problem(*row) for row in rows]
            await cursor.execute(_ARCHIVED)
            while rows := await cursor.fetchmany(PAGE):
                self.archived += len(rows)
                if headless := [_archive_problem(*row[:3]) for row in rows if not row[3]]:
                    yield headless

    async def _page(self, page: Sequence[StoredEvent]) -> AsyncIterator[Problem]:
        for event in await self._opened(page):
            if isinstance(event, Problem):
                yield event
                continue
            try:
                self._decoder.decode(event)
            except UndecodableEvent as error:
                error.place = None
                yield _problem(Trouble.UNREADABLE, event, str(error))
            if what := self._conformance.objection(event):
                yield _problem(Trouble.CONTRACT, event, what)

    async def _opened(self, page: Sequence[StoredEvent]) -> Sequence[StoredEvent | Problem]:
        if self._vault is None:
            return [_without_boxes(event) if may_hold_boxes(event.data) else event for event in page]
        try:
            return await opened_events(self._vault, self._connection, page)
        except PersonalDataLocked:
            return [await self._opened_alone(self._vault, event) for event in page]

    async def _opened_alone(self, vault: Vault, event: StoredEvent) -> StoredEvent | Problem:
        try:
            return (await opened_events(vault, self._connection, [event]))[0]
        except PersonalDataLocked as error:
            return _problem(Trouble.UNREADABLE, event, str(error))


class Conformance:
    """Compares stored data with the published contract of its own version, whatever today's class makes of it."""

    def __init__(self, published: Published) -> None:
        # Formats are claims that a schema makes and pydantic keeps in its own way: the classes look after them.
        self._validators: Mapping[tuple[str, int], Draft202012Validator] = {
            # Masked: a message must not quote the data.
            key: Draft202012Validator(schema, validate_formats=False, mask="it")
            for key, schema in published.items()
        }

    def objection(self, event: StoredEvent) -> str | None:
        """The objection to the event; None where it fits its contract."""
        key = Key(event.event_type, event.schema_version)
        validator = self._validators.get(key)
        if validator is None:
            return f"no contract is published for {key}"
        content = content_of(event.data)
        if validator.is_valid(content):
            return None
        return f"not as {key.file_name} says: {'; '.join(_objections(validator, content))}"


# The library's words quote keys, which may be anything where a schema does not name them.
_OF_NAMES = {
    "AdditionalProperties": "it has a property that is not declared",
    "UnevaluatedProperties": "it has a property that is not declared",
    "PropertyNames": "the name of a property is not as declared",
}


def _objections(validator: Draft202012Validator, content: Any) -> Iterator[str]:
    for error in validator.iter_errors(content):
        steps = (f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in error.instance_path)
        yield f"${''.join(steps)}: {_OF_NAMES.get(type(error.kind).__name__, error.message)}"


def _stream_problem(
    aggregate_type: str, aggregate_id: str, version: int, position: int, before: int, position_before: int
) -> Problem:
    stream = StreamId(aggregate_type, aggregate_id)
    if version == before + 1:
        what = f"it stands before version {before}, which has position {position_before}"
        return Problem(Trouble.ORDER, stream, version, position, what)
    what = f"after version {before}" if before else "the stream does not begin with version 1"
    return Problem(Trouble.HOLE, stream, version, position, what)


def _archive_problem(aggregate_type: str, aggregate_id: str, last_version: int) -> Problem:
    what = f"it is archived up to version {last_version}, and the event after that is missing"
    return Problem(Trouble.HOLE, StreamId(aggregate_type, aggregate_id), last_version + 1, None, what)


def _problem(trouble: Trouble, event: StoredEvent, what: str) -> Problem:
    return Problem(trouble, event.stream, event.version, event.position, what)


def _without_boxes(event: StoredEvent) -> StoredEvent:
    content = content_of(event.data)
    found = boxes(content)
    return replace(event, data=to_json(content | dict.fromkeys(found, FORGOTTEN)).decode()) if found else event

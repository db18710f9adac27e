"""Events as lines of JSON, one event a line: what an export writes and an import reads.

    {"event_id": "…", "aggregate_type": "account", "aggregate_id": "ann", "event_type": "Deposited", "event_data": {"amount": 1}}

`schema_version` is 1 and `metadata` empty where they are left out; `created_at` becomes the event's `occurred_at`.
`position` and `version`, which an export tells as well, are read by people only: an import gives new ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import msgspec

from counteract.errors import InvalidImport
from counteract.messages import StreamId
from counteract.store.postgres import PostgresEventStore
from counteract.store.wire import MAX_EVENT_BYTES

OCCURRED_AT = "occurred_at"
"""In an event's metadata: the time that it had where it was imported from."""

_PAGE = 1000
# Written by the database, whose text of a number has every digit that is stored.
_EXPORT = """
    select position, json_build_object(
        'position', position, 'event_id', event_id, 'aggregate_type', aggregate_type, 'aggregate_id', aggregate_id,
        'version', version, 'event_type', event_type, 'schema_version', schema_version, 'event_data', event_data,
        'metadata', metadata, 'created_at', created_at)::text
    from events where position > %s and position <= %s order by position limit %s
"""

_Name = Annotated[str, msgspec.Meta(min_length=1)]


class EventLine(msgspec.Struct, forbid_unknown_fields=True):
    """One event. Its data and metadata stay the text that they were: a number keeps its digits."""

    event_id: UUID
    aggregate_type: _Name
    aggregate_id: str
    event_type: _Name
    event_data: msgspec.Raw
    schema_version: Annotated[int, msgspec.Meta(ge=1, le=2**15 - 1)] = 1
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    created_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    position: int | None = None
    version: int | None = None

    @property
    def stream(self) -> StreamId:
        return StreamId(self.aggregate_type, self.aggregate_id)

    def content(self) -> tuple[Any, ...]:
        """What makes it the same event as another one with its id, as for an append: metadata may differ."""
        data = msgspec.json.decode(self.event_data)
        return self.stream, self.event_type, self.schema_version, data


@dataclass(slots=True)
class Batch:
    """Events that are stored together or not at all."""

    events: list[EventLine] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """Each event's line, from 1."""
    lines: int = 0
    """With those that are empty, or repeat another line of the batch."""
    bytes: int = 0


def batches(lines: Iterable[bytes], size: int) -> Iterator[Batch]:
    """Batches of `size` lines. Raises InvalidImport, which names every bad line of the batch that it comes to."""
    numbered = enumerate(lines, start=1)
    while taken := list(islice(numbered, size)):
        yield _batch(taken)


def _batch(taken: Sequence[tuple[int, bytes]]) -> Batch:
    batch = Batch(lines=len(taken), bytes=sum(len(line) for _, line in taken))
    first: dict[UUID, tuple[int, EventLine]] = {}
    problems = []
    for number, line in taken:
        if line.isspace():
            continue
        try:
            event = _parsed(line)
            earlier, same = first.setdefault(event.event_id, (number, event))
            if same is event:
                batch.events.append(event)
                batch.numbers.append(number)
            elif same.content() != event.content():
                raise ValueError(f"event_id is that of line {earlier}, with other content")
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        raise InvalidImport(problems)
    return batch


_decoder = msgspec.json.Decoder(EventLine)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _parsed(line: bytes) -> EventLine:
    # What stays text is not looked into any further.
    event = _decoder.decode(line.decode())
    _check(event)
    if event.created_at is not None:
        metadata = _members.decode(event.metadata)
        occurred_at = msgspec.json.encode(event.created_at.astimezone(UTC))
        event.metadata = msgspec.Raw(msgspec.json.encode({OCCURRED_AT: msgspec.Raw(occurred_at)} | metadata))
    return event


def _check(event: EventLine) -> None:
    size = len(memoryview(event.event_data))
    if size > MAX_EVENT_BYTES:
        raise ValueError(f"event_data has {size} bytes, more than {MAX_EVENT_BYTES}")
    for name, raw in (("event_data", event.event_data), ("metadata", event.metadata)):
        if bytes(memoryview(raw)[:1]) != b"{":
            raise ValueError(f"{name} is not an object")
    if "\0" in event.aggregate_type + event.aggregate_id + event.event_type:
        raise ValueError("a name holds the character \\u0000, which PostgreSQL cannot store")


async def exported(store: PostgresEventStore, *, after: int = 0) -> AsyncIterator[Sequence[str]]:
    """Lines of the events after a position, in the global order, in pages: those that are there when it begins.

    Personal data is exported as it is stored, sealed: it can be read wherever its keys are (the table `personal_keys`).
    """
    end = await store.high_water_mark()
    while after < end:
        async with store.connection() as connection:
            rows = await (await connection.execute(_EXPORT, (after, end, _PAGE))).fetchall()
        if not rows:
            return
        yield [line for _, line in rows]
        after = rows[-1][0]

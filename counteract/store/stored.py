"""Stored events, and their way back to the classes that the application declares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import starmap
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

import msgspec
from pydantic_core import from_json, to_json

from counteract.decider import aggregate_types_of
from counteract.decoding import Readers, decode_event, readers_of
from counteract.errors import ConfigurationError, UnknownEventType, UnreadableEvent
from counteract.messages import Event, Recorded, StreamId

E = TypeVar("E", bound=Event)


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of `events`, with the event itself still as JSON.

    A reader of the log looks at few of its parts, so parts that take time to make are made when they are asked for.
    """

    position: int
    id_bytes: bytes
    aggregate_type: str
    aggregate_id: str
    version: int
    event_type: str
    schema_version: int
    data: str
    """JSON text."""
    metadata_json: str
    recorded_at: datetime

    @classmethod
    def of(
        cls,
        *,
        position: int,
        event_id: UUID,
        stream: StreamId,
        version: int,
        event_type: str,
        schema_version: int,
        data: str,
        metadata: Mapping[str, Any],
        recorded_at: datetime,
    ) -> Self:
        """An event that was not read from the table."""
        about = to_json(metadata).decode()
        return cls(position, event_id.bytes, *stream, version, event_type, schema_version, data, about, recorded_at)

    @property
    def event_id(self) -> UUID:
        """The id by which the repeat of an append is known."""
        return UUID(bytes=self.id_bytes)

    @property
    def stream(self) -> StreamId:
        """The stream that the event belongs to."""
        return StreamId(self.aggregate_type, self.aggregate_id)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """`correlation_id`, `causation_id`, `saga`, `step`, `user_id` as far as known. Parsed anew each time."""
        metadata: Mapping[str, Any] = from_json(self.metadata_json)
        return metadata

    @property
    def tags(self) -> Sequence[str]:
        """The tags by which queries find it."""
        return tuple(self.metadata.get("$tags", ()))


# In the order of the fields. JSON travels as text and an id as bytes, for the driver's conversion would take longer
# than all the rest.
STORED_COLUMNS = (
    "position, uuid_send(event_id), aggregate_type, aggregate_id, version, event_type, schema_version, event_data::text, "
    "metadata::text, created_at"
)

PAGE_BYTES = 8 * 1024 * 1024
"""The size of a page of events in memory, however many they are; but a page has at least one event."""
_COMPRESSION = 16


def weight_of(*columns: str) -> str:
    """SQL for the approximate size in bytes of JSON columns as text. It does not unpack them, which would take longer
    than all the rest.
    """
    return " + ".join(
        f"case when pg_column_compression({each}) is null then 1 else {_COMPRESSION} end * pg_column_size({each})"
        for each in columns
    )


WEIGHT = weight_of("event_data", "metadata")
STORED_COLUMNS_IF_SMALL = STORED_COLUMNS.replace(
    "event_data::text", f"case when {WEIGHT} <= %(small)s then event_data::text end"
).replace("metadata::text", f"case when {weight_of('metadata')} <= %(small)s then metadata::text end")
"""STORED_COLUMNS with null in place of data or metadata that is larger than the parameter `small`."""


def stored_events(rows: Iterable[Sequence[Any]]) -> Sequence[StoredEvent]:
    """Events from rows of `STORED_COLUMNS`, which are read fastest in binary form."""
    return list(starmap(StoredEvent, rows))


class EventDecoder(Generic[E]):
    """Turns stored events into `Recorded` ones of the given classes.

    Two aggregates may each have events of one name. A class that deciders of this process declare reads the events of
    their aggregates; any other class reads those of the remaining ones. Raises ConfigurationError where two classes
    claim one name and version, or no class claims a version below another.
    """

    def __init__(self, classes: Iterable[type[E]]) -> None:
        of_all: list[type[E]] = []
        by_type = defaultdict[str, list[type[E]]](list)
        for each in classes:
            for aggregate_type in (types := aggregate_types_of(each)):
                by_type[aggregate_type].append(each)
            if not types:
                of_all.append(each)
        self._readers = _checked(of_all)
        self._by_type = {name: _checked([*own, *of_all]) for name, own in by_type.items()}
        self._any: Readers[E] = {}
        for readers in (*self._by_type.values(), self._readers):
            self._any = {**readers, **self._any}
        self.event_types = _names(self._any)
        """The stored names, whatever their version and aggregate."""
        self._taken = {name: _names(readers) for name, readers in self._by_type.items()}
        self._taken_of_all = _names(self._readers)

    def takes(self, stored: StoredEvent) -> bool:
        """Whether one of the classes reads events of this name and aggregate, in whatever version."""
        return stored.event_type in self._taken.get(stored.aggregate_type, self._taken_of_all)

    def passes_by(self, stored: StoredEvent) -> bool:
        """Whether the event shares the name of one that is read, but belongs to another aggregate. False for an unknown
        name.
        """
        return stored.event_type in self.event_types and not self.takes(stored)

    def decode(self, stored: StoredEvent) -> Recorded[E]:
        """Read the event.

        Raises UnknownEventType for a type or version that no class declares, UnreadableEvent for data that does not
        fit.
        """
        try:
            # An event that no class takes is read by its name alone: a name has one meaning as a rule.
            readers = self._by_type.get(stored.aggregate_type, self._readers) if self.takes(stored) else self._any
            event = decode_event(readers, stored.event_type, stored.schema_version, stored.data)
        except (UnknownEventType, UnreadableEvent) as error:
            raise error.at(stored.stream, stored.version, stored.position) from None
        return Recorded(
            event,
            stored.stream,
            stored.version,
            stored.position,
            stored.recorded_at,
            stored.id_bytes,
            stored.metadata_json,
        )


def _checked(classes: Iterable[type[E]]) -> Readers[E]:
    readers, problems = readers_of(classes)
    if problems:
        raise ConfigurationError("the events", problems)
    return readers


def _names(readers: Readers[E]) -> frozenset[str]:
    return frozenset(name for name, _ in readers)

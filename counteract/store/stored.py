"""Events as the store holds them, and back to the classes that the application declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from counteract.decoding import decode_event, readers_of
from counteract.errors import ConfigurationError, UnknownEventType, UnreadableEvent
from counteract.messages import Event, Recorded, StreamId

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One row of `events`; the event itself still as JSON."""

    position: int
    event_id: UUID
    stream: StreamId
    version: int
    event_type: str
    schema_version: int
    data: str
    """JSON text."""
    metadata: Mapping[str, Any]
    recorded_at: datetime


# `event_data` travels as text, which pydantic reads faster than psycopg and pydantic one after the other.
STORED_COLUMNS = (
    "position, event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data::text, "
    "metadata, created_at"
)


def stored_event(row: Sequence[Any]) -> StoredEvent:
    """From a row of `STORED_COLUMNS`."""
    position, event_id, aggregate_type, aggregate_id, *rest = row
    return StoredEvent(position, event_id, StreamId(aggregate_type, aggregate_id), *rest)


class EventDecoder(Generic[E]):
    """Turns stored events into `Recorded` ones of the given classes.

    Raises ConfigurationError where two classes claim one name and version, or none claims a version below another.
    """

    def __init__(self, classes: Iterable[type[E]]) -> None:
        self._readers, problems = readers_of(classes)
        if problems:
            raise ConfigurationError("the events", problems)

    @property
    def event_types(self) -> frozenset[str]:
        """The stored names, whatever their version."""
        return frozenset(name for name, _ in self._readers)

    def decode(self, stored: StoredEvent) -> Recorded[E]:
        """Raises UnknownEventType for a type or version that no class declares, UnreadableEvent for data that does not fit."""
        try:
            event = decode_event(self._readers, stored.event_type, stored.schema_version, stored.data)
        except (UnknownEventType, UnreadableEvent) as error:
            raise error.at(stored.stream, stored.version, stored.position) from None
        return Recorded(
            event=event,
            event_id=stored.event_id,
            stream=stored.stream,
            version=stored.version,
            position=stored.position,
            recorded_at=stored.recorded_at,
            metadata=stored.metadata,
        )

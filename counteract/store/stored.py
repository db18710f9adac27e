"""Events as the store holds them, and back to the classes that the application declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import ValidationError

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


def decode_event(by_name: Mapping[tuple[str, int], type[E]], event_type: str, schema_version: int, data: str) -> E:
    """The event of its declared class. Raises UnknownEventType, UnreadableEvent."""
    event_class = by_name.get((event_type, schema_version))
    if event_class is None:
        raise UnknownEventType(f"no class is declared for the stored event {event_type} v{schema_version}")
    try:
        return event_class.model_validate_json(data)
    except ValidationError as error:
        # The input is left out: it may be personal, and errors end up in logs.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise UnreadableEvent(event_type, schema_version, problems) from None


class EventDecoder(Generic[E]):
    """Turns stored events into `Recorded` ones of the given classes.

    Raises ConfigurationError where two classes claim one name and version.
    """

    def __init__(self, classes: Iterable[type[E]]) -> None:
        self._by_name: dict[tuple[str, int], type[E]] = {}
        for each in classes:
            known = self._by_name.setdefault((each.event_type, each.schema_version), each)
            if known is not each:
                both = f"{known.__qualname__} and {each.__qualname__}"
                raise ConfigurationError("the events", [f"{both} are both stored as {each.event_type}"])

    @property
    def event_types(self) -> frozenset[str]:
        """The stored names, whatever their version."""
        return frozenset(name for name, _ in self._by_name)

    def decode(self, stored: StoredEvent) -> Recorded[E]:
        """Raises UnknownEventType for a type or version that no class declares, UnreadableEvent for data that does not fit."""
        return Recorded(
            event=decode_event(self._by_name, stored.event_type, stored.schema_version, stored.data),
            event_id=stored.event_id,
            stream=stored.stream,
            version=stored.version,
            position=stored.position,
            recorded_at=stored.recorded_at,
            metadata=stored.metadata,
        )

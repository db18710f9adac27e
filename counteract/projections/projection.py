"""Declaring a projection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.schema import SchemaItem

from counteract.errors import ConfigurationError
from counteract.messages import Event, Recorded
from counteract.projections.operations import Delete, Increment, Operation, Patch, Put
from counteract.store import EventDecoder, StoredEvent

E = TypeVar("E", bound=Event)

Handler = Callable[[Recorded[E]], Operation | Iterable[Operation]]
"""Pure: the same event always gives the same operations, so that a rebuild gives the same rows."""


class Projection:
    """A read model in one table, as a function of events.

    `name` names its checkpoint. `items` are the columns, and indexes if it has any; the table is named like the
    projection, with underscores. A column's default must be a plain value: a row comes from events and nothing else.
    Raises ConfigurationError.
    """

    def __init__(self, name: str, *items: SchemaItem) -> None:
        self.name = name
        self.table = Table(name.replace("-", "_"), MetaData(), *items)
        self._handlers: dict[type[Event], Handler[Any]] = {}
        problems = [problem for column in self.table.columns for problem in _problems(column)]
        if not self.table.primary_key.columns:
            problems.append("no column is the primary key")
        if problems:
            raise ConfigurationError(f"projection {name!r}", problems)

    def on(self, event_class: type[E]) -> Callable[[Handler[E]], Handler[E]]:
        """Register the handler of one event class; it returns one operation, or any number of them."""

        def register(handler: Handler[E]) -> Handler[E]:
            if event_class in self._handlers:
                problem = f"{event_class.__name__} has two handlers"
                raise ConfigurationError(f"projection {self.name!r}", [problem])
            self._handlers[event_class] = handler
            return handler

        return register

    @property
    def decoder(self) -> EventDecoder[Event]:
        """Of the events that have handlers. Events of other types are skipped."""
        return EventDecoder(self._handlers)

    def operations(self, recorded: Recorded[Any]) -> Sequence[Operation]:
        """What the event does to the rows; nothing if it has no handler."""
        handler = self._handlers.get(type(recorded.event))
        result = handler(recorded) if handler else ()
        return [result] if isinstance(result, Put | Patch | Delete | Increment) else list(result)

    def operations_of(self, events: Iterable[StoredEvent]) -> Iterable[Operation]:
        """As `operations`, for stored events. Raises UnknownEventType for a version of a handled event that has no class."""
        decoder = self.decoder
        for stored in events:
            yield from self.operations(decoder.decode(stored))


def _problems(column: Column[Any]) -> Iterable[str]:
    default = column.default
    if column.server_default is not None or (default is not None and not default.is_scalar):
        yield f"the default of column {column.name!r} is not a plain value"

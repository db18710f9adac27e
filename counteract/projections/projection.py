"""The declaration of a projection: its columns, and the handlers that make rows of events."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from datetime import timedelta
from typing import Any, Self, TypeVar

from msgspec.structs import replace
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.dml import UpdateBase

from counteract.decider import event_classes_beside, vocabulary_of
from counteract.errors import ConfigurationError
from counteract.messages import Event, Recorded
from counteract.projections.identifiers import identifier_problems
from counteract.projections.inline import InlineProjection
from counteract.projections.keys import Keys, parts_of
from counteract.projections.operations import Delete, Effect, Increment, Patch, Put
from counteract.projections.sinks.layout import Layout
from counteract.projections.sinks.sink import Sink
from counteract.store import EventDecoder, StoredEvent
from counteract.store.postgres.fingerprint import fingerprint_of
from counteract.store.postgres.readiness import RESERVED

E = TypeVar("E", bound=Event)

Handler = Callable[[Recorded[E]], Effect | Iterable[Effect]]
"""A pure function: the same event always gives the same operations, so that a rebuild gives the same rows."""


class Projection:
    """A read model in one table, as a function of events.

    `name` names its checkpoint. `items` are the columns, and indexes if it has any; the table is named like the
    projection, with underscores. A column's default must be a plain value: a row comes from events and nothing else.

    - `within` is how far it may be behind: more is logged, counted and shown.
    - With `inline` it is never behind: `PostgresEventStore.open(url, inline=[…])` changes its rows in the transaction
      of each append, and a process without it may not append such events.
    - With several `shards` as many processes share its work; then the rows of an event are those whose key is, or
      begins with, the id of its stream.
    - With a `sink` its rows are there, and not in a table (`counteract.projections.sinks`).

    Raises ConfigurationError.
    """

    def __init__(
        self,
        name: str,
        *items: SchemaItem,
        within: timedelta | None = None,
        inline: bool = False,
        shards: int = 1,
        sink: Sink | None = None,
    ) -> None:
        self.name = name
        self.sink = sink
        self.within = within
        self.shards = shards
        self.is_inline = inline
        self.table = Table(name.replace("-", "_"), MetaData(), *items)
        self._keys = Keys(self.table)
        self._declared = self.table
        self.layout = Layout(name, self.table)
        self._handlers: dict[type[Event], Handler[Any]] = {}
        self._ignored: set[type[Event] | str] = set()
        self._fitting: set[Hashable] = set()
        problems = [*identifier_problems(self.table.name)]
        problems += [problem for column in self.table.columns for problem in _problems(column)]
        if self.table.name in RESERVED:
            problems.append(
                f"its table would be named like {self.table.name}, which is the store's own: give it another name"
            )
        if not self._keys.names:
            problems.append("no column is the primary key")
        if inline and within is not None:
            problems.append("it is inline, and so never behind: leave within= out")
        if shards < 1:
            problems.append(f"it has {shards} shards: give it one or more")
        if sink and (inline or shards > 1):
            problems.append("its rows are not in PostgreSQL, and so it is neither inline nor in several shards")
        if inline and shards > 1:
            problems.append("it is inline, and so kept by whoever appends: leave shards= out")
        if problems:
            raise ConfigurationError(f"projection {name!r}", problems)

    def on(self, event_class: type[E]) -> Callable[[Handler[E]], Handler[E]]:
        """Register the handler of one event class; it returns one operation, or any number of them."""

        def register(handler: Handler[E]) -> Handler[E]:
            if event_class in self._handlers:
                raise self._error(f"{event_class.__name__} has two handlers")
            if event_class in self._ignored:
                raise self._error(f"{event_class.__name__} is declared ignored, and has a handler")
            self._handlers[event_class] = handler
            return handler

        return register

    def ignores(self, *events: type[Event] | str) -> None:
        """Declare that these events change nothing: classes (see `check`), or stored names that no class has now."""
        for event in events:
            if not isinstance(event, str) and event in self._handlers:
                raise self._error(f"{event.__name__} has a handler, and is declared ignored")
        self._ignored.update(events)

    def check(self) -> None:
        """Raises ConfigurationError for forgotten events, which have no handler and are not ignored.

        They are the events that are declared by a decider of which some event has a handler.
        """
        named = self._handlers.keys() | self._ignored
        forgotten = {other for each in self._handlers for other in event_classes_beside(each)} - named
        if forgotten:
            raise self._error(
                *(
                    f"{name} has no handler: write one, or declare that it changes nothing with ignores({name})"
                    for name in sorted(each.__name__ for each in forgotten)
                )
            )

    @property
    def handled(self) -> frozenset[type[Event]]:
        """The event classes that have handlers."""
        return frozenset(self._handlers)

    @property
    def ignored_names(self) -> frozenset[str]:
        """The stored names of the events that are declared ignored."""
        return frozenset(each if isinstance(each, str) else each.event_type for each in self._ignored)

    def under(self, name: str, *, schema: str) -> Self:
        """A copy with a checkpoint of its own, and its table in another schema, to fill beside this one."""
        other = copy(self)
        other.name = name
        other.table = self.table.to_metadata(MetaData(), schema=schema)
        return other

    def inlined(self) -> InlineProjection:
        """The handler for `PostgresEventStore.open` to keep. Raises ConfigurationError where it is not inline, and as
        `check`.
        """
        if not self.is_inline:
            raise self._error("it is not inline: declare it with inline=True, or give it to a ProjectionRunner")
        self.check()
        return InlineProjection(self)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the code that makes rows of events: other code may make other rows."""
        columns = [
            (column.name, repr(column.type), repr(getattr(column.default, "arg", None)))
            for column in self.table.columns
        ]
        handled = [(each.event_type, each.schema_version, name.__qualname__) for each, name in self._handlers.items()]
        return fingerprint_of([*self._handlers, *self._handlers.values()], f"{columns}\n{handled}")

    @property
    def decoder(self) -> EventDecoder[Event]:
        """Reads the events that have handlers. Events of other types are skipped."""
        return EventDecoder(self._handlers)

    @property
    def vocabulary(self) -> Mapping[str, frozenset[str]]:
        """All names that may be passed by, for each aggregate type: any other is of a newer
        release. See `Subscriber`.
        """
        own = frozenset(each.event_type for each in self._handlers) | self.ignored_names
        return {kind: names | own for kind, names in vocabulary_of(self._handlers).items()}

    def operations(self, recorded: Recorded[Any]) -> Sequence[Effect]:
        """The effects of the event on the rows; none if it has no handler.

        Raises ConfigurationError for operations that do not fit the table.
        """
        handler = self._handlers.get(type(recorded.event))
        result = handler(recorded) if handler else ()
        # A list is looked for first: the other question takes longer than all the rest for a result that is no effect.
        operations = list(result) if isinstance(result, list) or not isinstance(result, _EFFECTS) else [result]
        for operation in operations:
            # Each shape is checked once; there are few of them.
            if self.shards > 1 or _shape(operation) not in self._fitting:
                self._check(recorded, operations)
                return [self._spelled(each) for each in operations]
        return operations

    def operations_of(self, events: Iterable[StoredEvent]) -> Iterable[Effect]:
        """The effects of stored events on the rows, in their order.

        Raises UnknownEventType for a version of a handled event that has no class, and as `operations`.
        """
        decoder = self.decoder
        for stored in events:
            if not decoder.passes_by(stored):
                yield from self.operations(decoder.decode(stored))

    def _error(self, *problems: str) -> ConfigurationError:
        return ConfigurationError(f"projection {self.name!r}", problems)

    def _check(self, recorded: Recorded[Any], operations: Iterable[Effect]) -> None:
        if problems := list(self._problems(operations, recorded.stream.aggregate_id)):
            raise ConfigurationError(f"projection {self.name!r}, handler of {recorded.event.event_type}", problems)

    def _problems(self, operations: Iterable[Effect], own: str) -> Iterable[str]:
        for operation in operations:
            if (shape := _shape(operation)) not in self._fitting:
                if misfits := list(self._misfits(operation)):
                    yield from misfits
                    continue
                if not isinstance(operation, UpdateBase) and self._keys.are_spelled(operation.key):
                    self._fitting.add(shape)
            if self.shards > 1:
                yield from self._strays(operation, own)

    def _spelled(self, effect: Effect) -> Effect:
        if isinstance(effect, UpdateBase) or self._keys.are_spelled(effect.key):
            return effect
        return replace(effect, key=self._keys.spelled(effect.key))

    def _misfits(self, operation: Effect) -> Iterable[str]:
        if isinstance(operation, UpdateBase):
            yield from self._statement_misfits(operation)
            return
        if not isinstance(operation, _EFFECTS):
            yield f"{operation!r} is no operation"
            return
        yield from (f"{operation}: {problem}" for problem in self._keys.misfits(operation.key))
        for name in _NAMES[type(operation)](operation):
            if name not in self.table.columns:
                yield f"{operation} names {name!r}, which is no column"
            elif name in self._keys.names:
                yield f"{operation} names {name!r}, which is part of the key"

    def _statement_misfits(self, statement: UpdateBase) -> Iterable[str]:
        if self.sink:
            yield f"a statement changes tables of PostgreSQL, and its rows are in {self.sink}"
        elif statement.table is not self._declared:
            yield f"a statement changes {statement.table}, which is not its table"

    def _strays(self, operation: Effect, own: str) -> Iterable[str]:
        if isinstance(operation, UpdateBase):
            yield f"a statement may reach the rows of other shards: there are {self.shards}"
        elif str(parts_of(operation.key)[0]) != own:
            yield f"{operation} is of a row that may be another shard's: with {self.shards} it must be {own!r}"


_EFFECTS = (Put, Patch, Delete, Increment, UpdateBase)
# The names of the columns that an operation names.
_NAMES: Mapping[type, Callable[[Any], Iterable[str]]] = {
    Put: lambda put: put.row,
    Patch: lambda patch: patch.fields,
    Delete: lambda _: (),
    Increment: lambda increment: (increment.field,),
}


def _shape(operation: Any) -> Hashable:
    """The parts of an operation that decide whether it fits a table; None for a value that is no operation."""
    kind = type(operation)
    if kind not in _NAMES:
        return None
    key = operation.key
    parts = tuple(map(type, key)) if type(key) is tuple else type(key)
    return (kind, parts, operation.field) if kind is Increment else (kind, parts, *_NAMES[kind](operation))


def _problems(column: Column[Any]) -> Iterable[str]:
    if column.primary_key and isinstance(column.type, CITEXT):
        yield f"the key column {column.name!r} tells no case apart, and operations do: make it Text, and write one case in the handlers"
    default = column.default
    if column.server_default is not None or (default is not None and not default.is_scalar):
        yield f"the default of column {column.name!r} is not a plain value"

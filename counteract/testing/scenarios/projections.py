"""Examples of projections: given these events, when more come, then the rows are those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import UpdateBase

from counteract.decider import aggregate_types_of
from counteract.messages import Event, Recorded, StreamId
from counteract.projections import Effect, Projection
from counteract.projections.coalescing import Adjusted, Change, Removed, Replaced, coalesced, increased
from counteract.projections.table import ProjectionTable
from counteract.projections.table_writer import TableWriter
from counteract.store.postgres.append import encode_event
from counteract.store.postgres.connect import async_engine
from counteract.store.stored import StoredEvent
from counteract.testing.scenarios.failures import explained

Row = Mapping[str, Any]


def in_stream(stream: StreamId, *events: Event, metadata: Mapping[str, Any] | None = None) -> Sequence[Recorded[Any]]:
    """Events as a stream holds them, from its first version on, for a projection that looks at more than the events."""
    return [
        Recorded.of(event, stream, version=version, metadata=metadata) for version, event in enumerate(events, start=1)
    ]


class Projecting:
    """A projection's rows as the given events leave them; `when` lets more events come.

    An event that is not `in_stream` is in a stream called "given", of the aggregate that declares it. Positions follow
    the order of the events.
    """

    def __init__(self, projection: Projection, events: Sequence[Event | Recorded[Any]]) -> None:
        projection.check()
        self._projection = projection
        self._given = _placed(events)

    def when(self, *events: Event | Recorded[Any]) -> Projected:
        """The rows after these events came too."""
        return Projected(self._projection, self._given, _placed([*self._given, *events])[len(self._given) :])


class Projected(Projecting):
    """The rows after more events came; `when` lets still more come.

    Each `then` raises AssertionError, with the whole example and the difference, where it does not hold.
    """

    def __init__(self, projection: Projection, given: Sequence[Recorded[Any]], came: Sequence[Recorded[Any]]) -> None:
        super().__init__(projection, [*given, *came])
        self._before = given
        self._came = came
        self._stored: Mapping[Any, Row] | None = None

    @property
    def rows(self) -> Mapping[Any, Row]:
        """The rows by their keys, without the key's columns.

        Raises AssertionError where a statement is among the operations, which only `in_postgres` can carry out.
        """
        if self._stored is None:
            effects = [effect for each in self._given for effect in self._projection.operations(each)]
            self._stored = _applied(effects, TableWriter(self._projection.table).blank)
        return self._stored

    async def in_postgres(self, url: str) -> Self:
        """The same, with the rows as PostgreSQL makes them, statements and types included.

        `url` is that of any database: the rows are in a temporary table, of which nothing stays.
        """
        engine = async_engine(url)
        try:
            async with engine.connect() as connection:
                self._stored = await _stored(connection, self._projection, self._given)
        finally:
            await engine.dispose()
        return self

    def then(self, *operations: Effect) -> Self:
        """Check that the events of `when` lead to these operations, and no others, in this order."""
        __tracebackhide__ = True
        done = [effect for each in self._came for effect in self._projection.operations(each)]
        if done != list(operations):
            raise AssertionError(explained("It does otherwise", self._story(), operations, done))
        return self

    def then_rows(self, expected: Mapping[Any, Row]) -> Self:
        """Check that these are all rows, by key, each with all its columns but those of the key."""
        __tracebackhide__ = True
        if self.rows != expected:
            raise AssertionError(explained("The rows are others", self._story(), _lines(expected), _lines(self.rows)))
        return self

    def then_row(self, key: Any, **fields: Any) -> Self:
        """Check that there is a row of that key, with these fields, perhaps among others."""
        __tracebackhide__ = True
        row = self.rows.get(key)
        if row is None:
            raise AssertionError(
                explained("There is no such row", self._story(), _lines({key: fields}), _lines(self.rows))
            )
        named = {name: row[name] for name in fields if name in row}
        if named != fields:
            raise AssertionError(
                explained("The row is another", self._story(), _lines({key: fields}), _lines({key: named}))
            )
        return self

    def then_no_row(self, key: Any) -> Self:
        """Check that there is no row of that key."""
        __tracebackhide__ = True
        if key in self.rows:
            raise AssertionError(explained("There is such a row", self._story(), [], _lines({key: self.rows[key]})))
        return self

    def _story(self) -> dict[str, Iterable[Any]]:
        return {"given": map(_shown, self._before), "when": map(_shown, self._came)}


def _placed(events: Sequence[Event | Recorded[Any]]) -> list[Recorded[Any]]:
    """The events, each at a position of its own, in their order; those in no stream get one version after another."""
    placed: list[Recorded[Any]] = []
    for position, each in enumerate(events, start=1):
        if isinstance(each, Recorded):
            stream, event, version = each.stream, each.event, each.version
        else:
            stream, event = StreamId(min(aggregate_types_of(type(each)), default="given"), "given"), each
            version = 1 + sum(other.stream == stream for other in placed)
        metadata = each.metadata if isinstance(each, Recorded) else None
        at = each.recorded_at if isinstance(each, Recorded) else Recorded.of(event, stream).recorded_at
        placed.append(
            Recorded.of(
                event,
                stream,
                version=version,
                position=position,
                recorded_at=at,
                event_id=UUID(int=position),
                metadata=metadata,
            )
        )
    return placed


def _applied(effects: Sequence[Effect], blank: Row) -> Mapping[Any, Row]:
    rows: dict[Any, Row] = {}
    for changes in coalesced(effects, blank):
        if isinstance(changes, UpdateBase):
            raise AssertionError(
                f"only a database carries out the statement\n    {changes}\n"
                "so ask for the rows with `await ….when(…).in_postgres(url)`"
            )
        for key, change in changes.items():
            row = _changed(rows.pop(key, None), change, blank)
            if row is not None:
                rows[key] = row
    return rows


def _changed(row: Row | None, change: Change, blank: Row) -> Row | None:
    match change:
        case Replaced(replaced):
            return replaced
        case Removed():
            return None
        case Adjusted():
            patched = None if row is None else {**row, **change.patched}
            if not change.creates:
                return patched
            return {**increased(blank if patched is None else patched, change.added), **change.fields}


async def _stored(
    connection: AsyncConnection, projection: Projection, events: Sequence[Recorded[Any]]
) -> Mapping[Any, Row]:
    temporary = projection.under(projection.name, schema="pg_temp")
    table = temporary.table
    await connection.run_sync(table.create)
    await ProjectionTable(temporary).write([_as_stored(each) for each in events], connection)
    keys = [column.name for column in table.primary_key.columns]
    rows = (await connection.execute(select(table))).mappings().all()
    return {_key([row[name] for name in keys]): {name: row[name] for name in row if name not in keys} for row in rows}


def _key(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _as_stored(recorded: Recorded[Any]) -> StoredEvent:
    event = recorded.event
    return StoredEvent.of(
        position=recorded.position,
        event_id=recorded.event_id,
        stream=recorded.stream,
        version=recorded.version,
        event_type=event.event_type,
        schema_version=event.schema_version,
        data=encode_event(event),
        metadata=recorded.metadata,
        recorded_at=recorded.recorded_at,
    )


def _lines(rows: Mapping[Any, Row]) -> Sequence[str]:
    """The rows as lines, a field a line, in an order that does not depend on theirs."""
    return [
        line
        for key, row in sorted(rows.items(), key=lambda each: repr(each[0]))
        for line in (f"{key!r}:", *(f"    {name} = {row[name]!r}" for name in sorted(row)))
    ]


def _shown(recorded: Recorded[Any]) -> str:
    return f"{recorded.stream}: {recorded.event!r}"

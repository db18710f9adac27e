"""Reading: streams, and the log in the global order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from counteract.messages import StreamId
from counteract.store.postgres.archived import raise_if_archived_after, raise_missing
from counteract.store.postgres.connect import Connection
from counteract.store.stored import (
    PAGE_BYTES,
    STORED_COLUMNS,
    STORED_COLUMNS_IF_SMALL,
    WEIGHT,
    StoredEvent,
    stored_events,
)

# The end of the range is applied last. As a part of the search it misleads a planner whose statistics are behind the
# log: that takes the rest of the log for a few rows, and fetches and sorts all of it for every page.
_READ = (
    "select {columns} from ("
    "select * from events where position > %(after)s and {condition} order by position limit %(limit)s"
    ") as page where position <= %(up_to)s order by position"
)
_READ_SELECTED = (
    "select {columns} from {source} "
    "where position > %(after)s and position <= %(up_to)s and {condition} order by position {order} limit %(limit)s"
)
# For pages in which an event may be large. Events are weighed by their positions and fetched afterwards: what is not of
# the page is never unpacked.
_READ_BOUNDED = f"""
    select {STORED_COLUMNS}, bytes from (
        select position, weight, sum(weight) over (order by position {{order}} rows unbounded preceding) as bytes
        from (
            select position, {WEIGHT} as weight from {{source}}
            where position > %(after)s and position <= %(up_to)s and {{condition}} order by position {{order}} limit %(limit)s
        ) as page
    ) as weighed join events using (position) where bytes - weight < {PAGE_BYTES} order by position {{order}}
"""  # noqa: S608 - constants
_AHEAD = "(select * from events where position > %(after)s and {condition} order by position limit %(limit)s) as ahead"
# Few events share a correlation id, whatever the planner thinks: it must not go over the log until it has found them.
_STORY = "(select * from events where metadata ->> 'correlation_id' = %(correlation_id)s offset 0) as story"
# For a connection that reads some types of events page by page: always along the index, from where the last page ended.
# A planner whose statistics are behind the log expects few rows where there are many, and would fetch and sort all the
# rest of the log for each page.
READS_IN_ORDER = "select set_config(name, 'off', false) from unnest(array['enable_seqscan', 'enable_bitmapscan', 'enable_sort']) name"
_READ_AT = f"select {STORED_COLUMNS} from events where position = any (%s) order by position"  # noqa: S608 - a constant
_READ_ID = f"select {STORED_COLUMNS} from events where event_id = %s"  # noqa: S608 - a constant
_READ_STREAM = (
    f"select {STORED_COLUMNS} from events "  # noqa: S608 - a constant
    "where aggregate_type = %s and aggregate_id = %s and version > %s and version < %s "
    "order by version {order} limit %s"
)
_WANTED = "event_type = any (%(event_types)s)"
_WANTED_OR_NEW = f"({_WANTED} or aggregate_type = any (%(aggregate_types)s) and event_type <> all (%(known)s))"
_ANY_WORDS: Mapping[str, Collection[str]] = MappingProxyType({})
_NO_VERSION = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The events that are wanted: those that fit all of these fields.

    The events of a stream or of a correlation id are found by an index. A category or types have none, for every append
    would pay for it: reading them goes over the log until the page is full.
    """

    stream: StreamId | None = None
    category: str | None = None
    """The aggregate type."""
    event_types: Collection[str] | None = None
    """Stored names, whatever their version."""
    correlation_id: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a statement with these conditions."""
        types = None if self.event_types is None else sorted(self.event_types)
        kind, name = self.stream or (None, None)
        return {
            "stream_type": kind,
            "stream_id": name,
            "category": self.category,
            "event_types": types,
            "correlation_id": self.correlation_id,
        }

    def conditions(self) -> Iterator[str]:
        """The conditions in SQL, to be joined by `and`."""
        if self.stream is not None:
            yield "aggregate_type = %(stream_type)s and aggregate_id = %(stream_id)s"
        if self.category is not None:
            yield "aggregate_type = %(category)s"
        if self.event_types is not None:
            yield "event_type = any (%(event_types)s)"


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events one after the other, bounded in bytes."""

    events: Sequence[StoredEvent]
    is_last: bool
    """Whether there were no more."""
    is_large: bool
    """Whether its bytes ended it, or those of the next event will."""


async def read_page(
    connection: Connection,
    *,
    after: int,
    up_to: int,
    limit: int,
    event_types: Collection[str] | None = None,
    vocabulary: Mapping[str, Collection[str]] = _ANY_WORDS,
    condition: str = "true",
    expects_large: bool = False,
) -> EventPage:
    """Events after one position and up to another, which is a confirmed high water mark, in order.

    They are at most `limit`, and about PAGE_BYTES, but always one. With `event_types`, only these are wanted; with a
    `vocabulary` as well, which has the known names by aggregate type, also events of those aggregates with unknown
    names.

    `condition` is SQL, and never comes from outside. The connection must be in autocommit mode: an older snapshot would
    miss events below the mark. For `event_types` it should be one that READS_IN_ORDER.
    """
    parameters: dict[str, Any] = {"after": after, "up_to": up_to, "limit": limit}
    if event_types is not None:
        known = frozenset[str](event_types).union(*vocabulary.values())
        words = {"event_types": sorted(event_types), "aggregate_types": sorted(vocabulary), "known": sorted(known)}
        condition = f"{condition} and {_WANTED_OR_NEW if vocabulary else _WANTED}"
        parameters |= words
    if not expects_large:
        template = _READ if event_types is None else _READ_SELECTED
        query = template.format(columns=STORED_COLUMNS_IF_SMALL, source="events", condition=condition, order="asc")
        page = await _small(connection, query, parameters)
        if page.events or not page.is_large:
            return page
    source = _AHEAD.format(condition=condition) if event_types is None else "events"
    query = _READ_BOUNDED.format(source=source, condition="true" if event_types is None else condition, order="asc")
    return await _bounded(connection, query, parameters)


async def _small(connection: Connection, query: str, parameters: dict[str, Any]) -> EventPage:
    """The events before the first that is large."""
    limit = parameters["limit"]
    events = await _fetched(connection, query, parameters | {"small": PAGE_BYTES // limit})
    data = [event.data for event in events]
    # Events without data are large, although the type says that there always are data.
    if None not in data:
        return EventPage(events, is_last=len(events) < limit, is_large=False)
    return EventPage(events[: data.index(None)], is_last=False, is_large=True)  # type: ignore[arg-type]


async def _bounded(connection: Connection, query: str, parameters: dict[str, Any]) -> EventPage:
    # Planned for these values: it serves the few logs, or parts of one, that have large events.
    cursor = await connection.execute(query, parameters, prepare=False, binary=True)
    rows = await cursor.fetchall()
    is_large = bool(rows) and rows[-1][-1] >= PAGE_BYTES
    events = stored_events(row[:-1] for row in rows)
    return EventPage(events, is_last=not is_large and len(rows) < parameters["limit"], is_large=is_large)


async def read_selected_page(
    connection: Connection, selection: Selection, *, after: int, up_to: int, limit: int, backwards: bool = False
) -> Sequence[StoredEvent]:
    """Selected events as `read_selected` gives them, about PAGE_BYTES at the most, but always one. An empty answer is
    the end.
    """
    if selection == Selection() and not backwards:
        return (await read_page(connection, after=after, up_to=up_to, limit=limit)).events
    query = _READ_BOUNDED.format(**_selected(selection, backwards=backwards))
    parameters = {"after": after, "up_to": up_to, "limit": limit, **selection.parameters}
    return (await _bounded(connection, query, parameters)).events


async def read_selected(
    connection: Connection, selection: Selection, *, after: int, up_to: int, limit: int, backwards: bool = False
) -> Sequence[StoredEvent]:
    """At most `limit` selected events after one position and up to another; `backwards` the last of them, the newest
    first.

    They are in memory, however large.
    """
    parameters = {"after": after, "up_to": up_to, "limit": limit, **selection.parameters}
    if selection == Selection() and not backwards:
        return await _fetched(connection, _READ.format(columns=STORED_COLUMNS, condition="true"), parameters)
    query = _READ_SELECTED.format(columns=STORED_COLUMNS, **_selected(selection, backwards=backwards))
    # Planned for these values: how much of the log they select decides which way is the short one.
    return await _fetched(connection, query, parameters, prepare=False)


def _selected(selection: Selection, *, backwards: bool) -> dict[str, str]:
    return {
        "source": "events" if selection.correlation_id is None else _STORY,
        "condition": " and ".join(["true", *selection.conditions()]),
        "order": "desc" if backwards else "asc",
    }


async def read_events_at(connection: Connection, positions: Sequence[int]) -> Sequence[StoredEvent]:
    """The events at these positions, in order."""
    return await _fetched(connection, _READ_AT, (list(positions),))


async def read_event_of(connection: Connection, event_id: UUID) -> Sequence[StoredEvent]:
    """The event with this id, in a sequence; an empty one if there is none."""
    return await _fetched(connection, _READ_ID, (event_id,))


async def read_one_stream(
    connection: Connection,
    stream: StreamId,
    *,
    after_version: int,
    before_version: int | None,
    limit: int | None,
    backwards: bool,
) -> Sequence[StoredEvent]:
    """The events between two versions, in order or backwards. Raises StreamArchived where some of them are archived."""
    before = _NO_VERSION if before_version is None else before_version
    query = _READ_STREAM.format(order="desc" if backwards else "asc")
    events = await _fetched(connection, query, (*stream, after_version, before, limit))
    if not events and before_version is not None:
        # The last event of a stream is never archived: without a bound, no event comes after this version.
        await raise_if_archived_after(connection, stream, after_version)
    is_all = not backwards or limit is None or len(events) < limit
    if events and is_all and max(events[0].version, events[-1].version) != after_version + len(events):
        await raise_missing(connection, stream, after_version)
    return events


async def _fetched(
    connection: Connection, query: str, parameters: Any, *, prepare: bool | None = None
) -> Sequence[StoredEvent]:
    cursor = await connection.execute(query, parameters, prepare=prepare, binary=True)
    return stored_events(await cursor.fetchall())

"""Reading by query: positions by the index of tags, or along the log where a query has none, and then the events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import to_json

from counteract.store.postgres.archived import raise_missing_at
from counteract.store.postgres.connect import Connection
from counteract.store.postgres.high_water_mark import HighWaterMark
from counteract.store.postgres.load import PAGE
from counteract.store.postgres.read import read_events_at
from counteract.store.stored import PAGE_BYTES, WEIGHT, StoredEvent, stored_events
from counteract.store.terms import Query, QueryItem

# Each item finds a page's worth by itself, so that their union is one page too. A position without an event is that of
# an archived one.
_POSITIONS = f"""
    select found.position, {WEIGHT} from ({{branches}}) as found left join events on events.position = found.position
    order by found.position {{order}} limit %(limit)s
"""  # noqa: S608 - a constant
_FIND = "select * from find_events(%s::jsonb, %s::bigint, %s::integer)"
_BRANCH = """(
    select f.position from {table} f where f.position > %(after)s and f.position <= %(up_to)s and {condition}
    order by f.position {order} limit %(limit)s)
"""
_ALL_TAGS = """
    not exists (
        select from unnest(%(others_{number})s::text[]) as other (tag)
        where not exists (select from event_tags o where o.tag = other.tag and o.position = f.position))
"""


async def found_all(
    connection: Connection,
    query: Query,
    *,
    after: int,
    timeout: float,  # noqa: ASYNC109 - as in settled()
) -> tuple[Sequence[StoredEvent], int]:
    """All events that the query finds after a position, and the position up to which these are all.

    Raises StreamArchived, StoreUnavailable.
    """
    events: list[StoredEvent] = []
    if query.is_by_tags:
        page, mark, is_all = await _found_by_tags(connection, query, after=after, limit=PAGE)
        if is_all:
            return page, mark
    else:
        mark = await HighWaterMark(connection).settled(timeout=timeout)
    while page := await found_page(connection, query, after=after, up_to=mark, limit=PAGE):
        events += page
        after = page[-1].position
    return events, mark


async def _found_by_tags(
    connection: Connection, query: Query, *, after: int, limit: int
) -> tuple[Sequence[StoredEvent], int, bool]:
    """At most `limit` events after a position, the position up to which they are settled, and whether these are all.

    It takes one round trip. Raises StreamArchived.
    """
    parameters = (to_json(query.terms()).decode(), after, limit)
    rows = await (await connection.execute(_FIND, parameters, binary=True)).fetchall()
    mark, found = rows[0][0], [row[1:] for row in rows if row[1] is not None]
    if missing := [position for position, event_id, *_ in found if event_id is None]:
        await raise_missing_at(connection, missing[0])
    return stored_events(found), mark, len(found) < limit


async def found_page(
    connection: Connection,
    query: Query,
    *,
    after: int,
    up_to: int,
    limit: int,
    backwards: bool = False,
    bounded: bool = True,
) -> Sequence[StoredEvent]:
    """Events that the query finds after one position and up to another, which is a confirmed high water mark.

    They are at most `limit`, and, if `bounded`, about PAGE_BYTES, but always one. An empty answer is the end. Raises
    StreamArchived.
    """
    statement, parameters = _statement(query, backwards=backwards)
    # Along the log it is planned for these values: how much of the log they select decides which way is the short one.
    prepare = None if query.is_by_tags else False
    cursor = await connection.execute(
        statement, parameters | {"after": after, "up_to": up_to, "limit": limit}, prepare=prepare
    )
    rows = await cursor.fetchall()
    positions = _fitting(rows) if bounded else [position for position, _ in rows]
    events = await read_events_at(connection, positions) if positions else []
    if len(events) < len(positions):
        await raise_missing_at(connection, min(set(positions) - {event.position for event in events}))
    return events[::-1] if backwards else events


def _statement(query: Query, *, backwards: bool) -> tuple[str, dict[str, Any]]:
    order = "desc" if backwards else "asc"
    parameters: dict[str, Any] = {}
    branches = []
    for number, item in enumerate(query.items):
        parameters |= _parameters(item, number)
        table, condition = "event_tags" if item.tags else "events", " and ".join(["true", *_conditions(item, number)])
        branches.append(_BRANCH.format(table=table, condition=condition, order=order))
    return _POSITIONS.format(branches=" union ".join(branches), order=order), parameters


def _parameters(item: QueryItem, number: int) -> dict[str, Any]:
    tags = {f"tag_{number}": item.tags[0], f"others_{number}": list(item.tags[1:])} if item.tags else {}
    return {**tags, f"types_{number}": sorted(item.types)}


def _conditions(item: QueryItem, number: int) -> Iterator[str]:
    if item.tags:
        yield f"f.tag = %(tag_{number})s"
    if item.tags[1:]:
        yield _ALL_TAGS.format(number=number)
    if item.types:
        yield f"f.event_type = any (%(types_{number})s)"


def _fitting(rows: Sequence[tuple[int, int | None]]) -> list[int]:
    positions, size = list[int](), 0
    for position, weight in rows:
        if size >= PAGE_BYTES:
            break
        positions.append(position)
        size += weight or 0
    return positions

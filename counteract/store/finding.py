"""Reading by query: positions by the index of tags, or along the log where there are none, and then the events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from counteract.store.archives import raise_missing_at
from counteract.store.connecting import Connection
from counteract.store.reading import read_events_at
from counteract.store.stored import PAGE_BYTES, WEIGHT, StoredEvent
from counteract.store.terms import Query, QueryItem

# Each item finds a page's worth by itself, so that what they have in common is one page too. Where nothing is found of an event, it is
# archived.
_POSITIONS = f"""
    select found.position, {WEIGHT} from ({{branches}}) as found left join events on events.position = found.position
    order by found.position {{order}} limit %(limit)s
"""  # noqa: S608 - a constant
_BRANCH = """(
    select f.position from {table} f where f.position > %(after)s and f.position <= %(up_to)s and {condition}
    order by f.position {order} limit %(limit)s)
"""
_ALL_TAGS = """
    not exists (
        select from unnest(%(others_{number})s::text[]) as other (tag)
        where not exists (select from event_tags o where o.tag = other.tag and o.position = f.position))
"""


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
    """Events that the query finds after one position and up to another, a confirmed high water mark: at most `limit`, and, if
    `bounded`, about PAGE_BYTES, but always one. The end is where there are none. Raises StreamArchived.
    """
    statement, parameters = _statement(query, backwards=backwards)
    # Along the log it is planned for these values: which way is the short one depends on how much of it they select.
    prepare = None if all(item.tags for item in query.items) else False
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

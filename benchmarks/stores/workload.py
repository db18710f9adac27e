"""The work of every store: the same events, in the same streams, by as many writers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier
from uuid_utils.compat import uuid7

from counteract import Decider, Event

CATEGORY = "account"
POOL_SIZE = 16
EVENTS_PER_STREAM = 100
PAGE = 1000

Answer = dict[str, Any]


class Deposited(Event):
    amount: int
    note: str


def _evolve(balance: int, event: Deposited) -> int:
    return balance + event.amount


accounts = Decider(CATEGORY, initial=0, evolve=_evolve, events=Deposited)

EVENT = Deposited(amount=25, note="x" * 100)
_CHOOSE = """
    with long_enough as (
        select aggregate_type, aggregate_id from events where version = %(events)s order by random() limit 50 * %(number)s)
    select aggregate_id from long_enough l
    where not exists (
        select from events e
        where e.aggregate_type = l.aggregate_type and e.aggregate_id = l.aggregate_id and e.version > %(events)s)
    limit %(number)s
"""
METADATA = {"correlation_id": str(uuid4()), "causation_id": str(uuid4())}


class Turns:
    """The turns of one writer: streams, and the version that each is at; new streams for every measurement."""

    def __init__(self, appends: int, events: int) -> None:
        self._appends = appends
        self._events = events

    def __iter__(self) -> Iterator[tuple[UUID, int]]:
        stream, version = uuid7(), 0
        for _ in range(self._appends):
            if version >= EVENTS_PER_STREAM:
                stream, version = uuid7(), 0
            yield stream, version
            version += self._events


async def written(write: Callable[[UUID, int], Awaitable[Any]], *, writers: int, events: int, appends: int) -> Answer:
    """Append by so many tasks at once."""
    each: list[float] = []

    async def writer() -> None:
        for stream, version in Turns(appends // writers, events):
            began = time.perf_counter()
            await write(stream, version)
            each.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(writers)))
    return {"elapsed": time.perf_counter() - began, "each": each}


def written_by_threads(write: Callable[[UUID, int], Any], *, writers: int, events: int, appends: int) -> Answer:
    each: list[float] = []

    def writer(_: int) -> None:
        for stream, version in Turns(appends // writers, events):
            began = time.perf_counter()
            write(stream, version)
            each.append(time.perf_counter() - began)

    with ThreadPoolExecutor(writers) as pool:
        began = time.perf_counter()
        list(pool.map(writer, range(writers)))
        return {"elapsed": time.perf_counter() - began, "each": each}


async def repeated(work: Callable[[], Awaitable[Any]], times: int) -> Answer:
    """One after another."""
    began = time.perf_counter()
    for _ in range(times):
        await work()
    return {"elapsed": time.perf_counter() - began, "each": [], "count": times}


def streams(number: int, events: int) -> Iterator[tuple[UUID, int]]:
    """A stream and a version for each event of so many new streams."""
    for _ in range(number):
        stream = uuid7()
        for version in range(1, events + 1):
            yield stream, version


def spread(number: int, events: int) -> Iterator[UUID]:
    """A stream for each event of so many new streams: a thousand streams in turn, as if all were in use at once."""
    for first in range(0, number, 1000):
        names = [uuid7() for _ in range(min(1000, number - first))]
        for _ in range(events):
            yield from names


async def balances_of(url: str, table: str) -> int:
    """The number of deposits that the rows show. Raises AssertionError where their sum is another."""
    async with await AsyncConnection.connect(url) as connection:
        query = SQL("select sum(deposits)::bigint, sum(balance)::bigint from {}").format(Identifier(table))
        row = await (await connection.execute(query)).fetchone()
    deposits, balance = row or (0, 0)
    assert balance == EVENT.amount * deposits
    return int(deposits)


async def chosen(url: str, number: int, events: int) -> list[str]:
    """Some of the streams of so many events, from all over the log."""
    async with await AsyncConnection.connect(url) as connection:
        found = await connection.execute(_CHOOSE, {"events": events, "number": number})
        return [name for (name,) in await found.fetchall()]


def line(stream: UUID) -> bytes:
    """A line of an import."""
    fields = {
        "event_id": str(uuid7()),
        "aggregate_type": CATEGORY,
        "aggregate_id": str(stream),
        "event_type": Deposited.event_type,
        "event_data": EVENT.model_dump(),
        "metadata": METADATA,
    }
    return json.dumps(fields).encode() + b"\n"

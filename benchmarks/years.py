"""The cost of a store after years: the same looks at one of a hundredth of the size, and at the whole."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from uuid import uuid4

import psycopg
from psycopg import sql
from rich.console import Console

from benchmarks.report import Section, show
from counteract import Decider, Event
from counteract.dev import EmbeddedPostgres
from counteract.participants.recovery import OPEN_SAGAS, PAGE
from counteract.participants.retention import over
from counteract.store import NO_STREAM, PostgresEventStore
from counteract.store.postgres.migrate import migrate
from counteract.subscriptions.administration import standings

EVENTS_OF_A_SAGA = 10
"""The events of one saga: two of its own, and those of one stream of its services."""
_COMMANDS = 4
_AT_ONCE = 50_000
_TIMES = 30
_OLD = timedelta(days=30)

# A record before its first event, or a trigger would make one.
_SAGAS = """
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, began_at, since)
    select 's-' || n, md5(n::text), 'default', 'Tour', case n %% 10 when 0 then 'compensated' else 'completed' end, 1, md5(n::text),
           clock_timestamp() - interval '400 days', clock_timestamp() - interval '400 days' + n * interval '1 second'
    from generate_series(%(first)s::integer, %(last)s::integer) as n
"""
_COMMANDS_OF_THEM = """
    insert into commands (command_id, status, saga_id, saga_type, step, activity_type, task_queue, command, result, run_id, kind, epoch)
    select gen_random_uuid(), 'done', 's-' || n, 'Tour', 'Step#' || k, 'Step', 'tours', '{"amount": 7, "of": "somebody"}', '1',
           md5(n::text), 'compensatable', 1
    from generate_series(%(first)s::integer, %(last)s::integer) as n, generate_series(1, %(commands)s::integer) as k
"""
_EVENTS = """
    insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)
    select gen_random_uuid(), case when k <= 2 then 'saga' else 'tour' end, 's-' || n, case when k <= 2 then k else k - 2 end,
           case k when 1 then 'SagaStarted' when 2 then 'SagaCompleted' else 'Toured' end, 1,
           jsonb_build_object('run_id', md5(n::text), 'saga_type', 'Tour', 'leg', k), jsonb_build_object('correlation_id', 's-' || n)
    from generate_series(%(first)s::integer, %(last)s::integer) as n, generate_series(1, %(events)s::integer) as k
"""


class Toured(Event):
    run_id: str = ""
    saga_type: str = ""
    leg: int


def evolve(legs: int, _: Toured) -> int:
    return legs + 1


tours = Decider("tour", initial=0, evolve=evolve, events=Toured)


async def bench_years(console: Console, options: argparse.Namespace) -> None:
    """Grows a store to `options.years` events, with a saga that has ended for each ten of them."""
    sagas = max(options.years // EVENTS_OF_A_SAGA, 100)
    section = Section("A store after years", ("events", "ended sagas", "on disk", *_Looks.NAMES))
    section.note = f"Medians of {_TIMES}, in milliseconds; of the page of a prune one. Loads are of streams that nobody has loaded before."
    with tempfile.TemporaryDirectory(prefix="counteract-years-") as folder:
        # On disk: memory may have no room for it.
        async with EmbeddedPostgres(Path(folder)) as postgres:
            await asyncio.to_thread(migrate, postgres.url)
            done = 0
            for size in (sagas // 100, sagas):
                await asyncio.to_thread(_fill, postgres.url, done + 1, size)
                done = size
                async with PostgresEventStore.open(postgres.url) as store:
                    took = await _Looks(store, size).all()
                    row = (f"{size * EVENTS_OF_A_SAGA:,}", f"{size:,}", await _on_disk(store))
                section.rows.append((*row, *(f"{1000 * each:.2f}" for each in took)))
    show(console, [section])


def _fill(url: str, first: int, last: int) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("set synchronous_commit = off")
        for begin in range(first, last + 1, _AT_ONCE):
            values = {"first": begin, "last": min(begin + _AT_ONCE - 1, last)}
            owner.execute(_SAGAS, values)
            owner.execute(_COMMANDS_OF_THEM, values | {"commands": _COMMANDS})
            owner.execute(_EVENTS, values | {"events": EVENTS_OF_A_SAGA})
        for table in ("sagas", "commands", "events"):
            owner.execute(sql.SQL("vacuum analyze {}").format(sql.Identifier(table)))


async def _on_disk(store: PostgresEventStore) -> str:
    async with store.connection() as connection:
        found = await connection.execute("select pg_size_pretty(pg_database_size(current_database()))")
        return str((await found.fetchone() or ("?",))[0])


class _Looks:
    """The looks at a store of so many sagas."""

    NAMES = (
        "append",
        "load",
        "page of the log",
        "events of a saga",
        "look for lost sagas",
        "subscriptions",
        "prune a page",
    )

    def __init__(self, store: PostgresEventStore, sagas: int) -> None:
        self._store = store
        self._sagas = sagas

    async def all(self) -> list[float]:
        looks = (self._append, self._load, self._page, self._events_of_a_saga, self._lost, self._subscriptions)
        return [*[await self._median(each) for each in looks], await self._prune()]

    async def _median(self, look: Callable[[int], Awaitable[object]]) -> float:
        took = []
        for number in range(_TIMES):
            began = time.perf_counter()
            await look(number)
            took.append(time.perf_counter() - began)
        return median(took)

    async def _append(self, _: int) -> object:
        return await self._store.append(tours.stream(str(uuid4())), [Toured(leg=1)], expect=NO_STREAM)

    async def _load(self, number: int) -> object:
        return await self._store.load(tours, self._saga(number))

    async def _page(self, number: int) -> object:
        middle = self._sagas * EVENTS_OF_A_SAGA * number // _TIMES
        return await self._store.read(after=middle, up_to=middle + 10_000, limit=100)

    async def _events_of_a_saga(self, number: int) -> object:
        return await self._store.read(correlation_id=self._saga(number), limit=100)

    async def _lost(self, _: int) -> object:
        async with self._store.connection() as connection:
            found = await connection.execute(OPEN_SAGAS, ("default", None, None, None, None, PAGE))
            return await found.fetchall()

    async def _subscriptions(self, _: int) -> object:
        async with self._store.connection() as connection:
            return await standings(connection)

    async def _prune(self) -> float:
        began = time.perf_counter()
        page = await over(self._store, "default", _OLD, ("", ""))
        ids, runs = [each.saga_id for each in page], [each.run_id for each in page]
        async with self._store.connection() as connection:
            await connection.execute("select prune_sagas(%s, %s, %s)", (ids, runs, _OLD))
        return time.perf_counter() - began

    def _saga(self, number: int) -> str:
        return f"s-{1 + self._sagas * number // _TIMES}"

"""The event store beside others and beside its own limit, in docs/benchmarks-event-store.md."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psycopg
from rich.console import Console

from benchmarks.delay import delays, visible
from benchmarks.drivers import Engine, engine
from benchmarks.event_store_report import (
    METHOD,
    Grown,
    append_section,
    boundary_section,
    delay_section,
    growth_section,
    import_section,
    load_section,
    log_section,
    projection_section,
    rebuild_section,
)
from benchmarks.orders import fill
from benchmarks.races import Race, race
from benchmarks.rebuilds import rebuild
from benchmarks.report import Section, machine_section, markdown, show
from counteract.dev import EmbeddedPostgres
from counteract.store.master_key import MASTER_KEY_VARIABLE, MasterKey
from counteract.store.postgres.connect import APP_ROLE
from counteract.store.postgres.migrate import migrate

PEER = "eventsourcing"

_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-event-store.md"
_WRITERS = (1, 8, 16)
_APPENDED = (1, 10)
# Events of a stream, streams, and loads of one measurement.
_LOADED = ((10, 100, 500), (1000, 10, 30), (10_000, 2, 4))
# Events per second, to a projection.
_RATES = (100, 500)
_CONDITIONS = ("with snapshot", "cached")


@dataclass(frozen=True, slots=True)
class Bench:
    """A server, and the measurements on it."""

    postgres: EmbeddedPostgres
    options: argparse.Namespace
    console: Console

    @asynccontextmanager
    async def store(self, name: str, *, database: str = "log") -> AsyncIterator[Engine]:
        """One of `benchmarks.stores`, on a database that is made where it is missing."""
        for each in (database, PEER):
            await _create(self.postgres, each)
        await asyncio.to_thread(migrate, self.postgres.url_of(database))
        env = os.environ | {
            "DATABASE_URL": self.postgres.url_of(database, role=APP_ROLE),
            "OWNER_URL": self.postgres.url_of(database),
            "EVENTSOURCING_URL": self.postgres.url_of(PEER),
        }
        async with engine(name, env, module="benchmarks.stores") as started:
            yield started

    @asynccontextmanager
    async def all_stores(self) -> AsyncIterator[tuple[Engine, Sequence[Engine]]]:
        """Counteract's store, and those that it is compared with."""
        names = ["by-hand", *([PEER] if importlib.util.find_spec(PEER) else [])]
        async with AsyncExitStack() as stack:
            ours = await stack.enter_async_context(self.store("counteract"))
            yield ours, [await stack.enter_async_context(self.store(name)) for name in names]

    async def race(self, ours: Engine, theirs: Engine, **order: object) -> Race:
        found = await race(ours, theirs, pairs=self.options.pairs, **order)
        self.console.print(f"{order} by {theirs.name}: {found.ratio:.2f}")
        return found


async def appends(bench: Bench) -> Section:
    rows = []
    async with bench.all_stores() as (ours, others):
        for events in _APPENDED:
            for writers in _WRITERS:
                order = {"order": "append", "writers": writers, "events": events, "appends": bench.options.appends}
                rows.append((writers, events, [await bench.race(ours, each, **order) for each in others]))
    return append_section(rows)


async def boundaries(bench: Bench) -> Section:
    rows = []
    async with bench.all_stores() as (ours, others):
        # By hand there is nothing that does the same.
        peers = [each for each in others if each.name == PEER]
        for what in ("name", "course"):
            for writers in _WRITERS:
                order = {"order": "decide", "what": what, "writers": writers, "decisions": bench.options.appends // 3}
                rows.append((what, writers, [await bench.race(ours, each, **order) for each in peers]))
    return boundary_section(rows)


async def loads(bench: Bench) -> Section:
    rows = []
    async with bench.all_stores() as (ours, others):
        for events, streams, times in _LOADED:
            await ours.ask(order="fill", number=streams, events=events)
            for each in (ours, *others):
                await each.ask(order="choose", number=streams, events=events)
            order = {"order": "load", "events": events, "loads": times}
            races = [await bench.race(ours, each, **order) for each in others]
            better = {each: await _rate(bench, ours, condition=each, **order) for each in _CONDITIONS}
            rows.append((events, races, better))
    return load_section(rows)


async def log(bench: Bench) -> Section:
    events = 100_000
    async with bench.all_stores() as (ours, others):
        await ours.ask(order="fill", number=events // 100, events=100)
        for each in others:
            if each.name == PEER:
                await each.ask(order="choose", number=events // 100, events=100)
        pages = [await bench.race(ours, each, order="read") for each in others]
        followed = [await bench.race(ours, each, order="subscribe") for each in others if each.name == PEER]
        return log_section(pages, followed)


async def imports(bench: Bench) -> Section:
    async with bench.store("counteract") as ours, bench.store("by-hand") as theirs:
        order = {"order": "bulk", "number": 20_000, "events": 10}
        return import_section(await bench.race(ours, theirs, **order))


async def project(bench: Bench) -> Section:
    # Enough of them that how it goes on counts, and not how it begins.
    events = 500_000
    async with bench.all_stores() as (ours, others):
        await ours.ask(order="spread", number=events // 10, events=10)
        for each in others:
            if each.name == PEER:
                # What it has to do grows with them, its pace does not.
                await each.ask(order="spread", number=1000, events=5)
        # As the server would before long. Until then ours goes along the index all the same, and a query by hand does not.
        await asyncio.to_thread(_analyze, bench.postgres.url_of("log"))
        return projection_section([await bench.race(ours, each, order="project") for each in others])


async def rebuilds(bench: Bench) -> Section:
    rows = []
    os.environ.setdefault(MASTER_KEY_VARIABLE, MasterKey.new())
    for events in sorted({min(each, bench.options.events) for each in (100_000, 1_000_000)}):
        database = f"orders_{events}"
        await _create(bench.postgres, database)
        url = bench.postgres.url_of(database)
        await asyncio.to_thread(migrate, url)
        await fill(url, events)
        env = os.environ | {"DATABASE_URL": bench.postgres.url_of(database, role=APP_ROLE)}
        taken = [await rebuild(env, events, processes) for _ in range(bench.options.pairs) for processes in (1, 2)]
        for processes in (1, 2):
            rows.append([each for each in taken if each.processes == processes])
            bench.console.print(str(rows[-1]))
    return rebuild_section(rows)


async def delay(bench: Bench) -> Section:
    async with bench.store("counteract", database="delay") as ours:
        url = bench.postgres.url_of("delay", role=APP_ROLE)
        found = await delays(url, partial(ours.ask, order="stamped", writers=16), bench.options.appends)
        shown = [await visible(url, partial(ours.ask, order="paced", rate=rate)) for rate in _RATES]
        return delay_section(found, shown)


async def growth(bench: Bench) -> Section:
    rows, events = [], bench.options.events
    async with bench.store("counteract", database="growth") as ours:
        there = 0
        for size in sorted({min(10_000, events), min(1_000_000, events), events}):
            await ours.ask(order="fill", number=(size - there) // 10, events=10)
            there = size
            await ours.ask(order="choose", number=200, events=10)
            appended = await _rate(bench, ours, order="append", writers=8, events=1, appends=bench.options.appends)
            loaded = await _rate(bench, ours, order="load", events=10, loads=1000)
            rows.append(Grown(size, appended, loaded, await _size(bench.postgres.url_of("growth"))))
            bench.console.print(str(rows[-1]))
    return growth_section(rows)


PARTS: Mapping[str, Callable[[Bench], Awaitable[Section]]] = {
    "append": appends,
    "boundaries": boundaries,
    "load": loads,
    "log": log,
    "import": imports,
    "project": project,
    "rebuild": rebuilds,
    "delay": delay,
    "growth": growth,
}


async def bench_event_store(console: Console, parts: Sequence[str], options: argparse.Namespace) -> None:
    with TemporaryDirectory() as folder:
        state = Path(folder) if options.durable else None
        sections, servers = list[Section](), dict[str, str]()
        for part in parts:
            # A server of its own, for what one part leaves behind must not slow the next one.
            async with EmbeddedPostgres(state / part if state else None) as postgres:
                section = await PARTS[part](Bench(postgres, options, console))
                show(console, [section])
                sections.append(section)
                servers["PostgreSQL"] = f"{postgres.version}, {'with' if state else 'without'} fsync"
    if list(parts) == list(PARTS) and not options.no_page:
        sections.append(machine_section(servers, ["psycopg", "pydantic", PEER]))
        _PAGE.write_text(markdown(METHOD, sections), encoding="utf-8")
        console.print(f"Written to docs/{_PAGE.name}")


async def _rate(bench: Bench, store: Engine, **order: object) -> float:
    return median([(await store.take(**order)).per_second for _ in range(bench.options.pairs)])


def _analyze(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("analyze")


async def _create(postgres: EmbeddedPostgres, database: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        found = await connection.execute("select from pg_database where datname = %s", (database,))
        if not found.rowcount:
            await connection.execute(f"create database {database}".encode())


async def _size(url: str) -> int:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute("select pg_total_relation_size('events')")).fetchone()
    return int(row[0]) if row else 0

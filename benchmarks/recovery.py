"""A round of recovery over a table of ended sagas: how long the look for the lost ones takes, and how much memory."""

from __future__ import annotations

import argparse
import asyncio
import time
import tracemalloc
from dataclasses import dataclass

from rich.console import Console
from temporalio.client import Client

from benchmarks.report import Section, show
from counteract.dev import EmbeddedPostgres, EmbeddedTemporal, Supervisor
from counteract.participants.recovery import OPEN_SAGAS, PAGE, lost_page
from counteract.store import PostgresEventStore
from counteract.store.postgres.migrate import migrate

LOST = 1000
_AT_ONCE = 50
_ENDED = """
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, began_at, since)
    select 'ended-' || n, md5(n::text), 'default', 'Tour',
           case n %% 10 when 0 then 'compensated' else 'completed' end, 1, md5(n::text),
           clock_timestamp() - n * interval '1 second', clock_timestamp() - n * interval '1 second'
    from generate_series(1, %s) as n
"""
_LOST = """
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, began_at)
    values (%s, %s, 'default', 'Tour', 'forward', 1, %s, clock_timestamp() - random() * interval '11 days')
"""


@dataclass(frozen=True, slots=True)
class Look:
    """The cost of one look over all pages, with so many ended sagas in the table."""

    ended: int
    found: int
    seconds: float
    in_database: float
    """The part of those seconds in the statements that find the open records."""
    peak: int
    """The most memory of Python, in bytes."""
    plan: str


async def bench_recovery(console: Console, options: argparse.Namespace) -> None:
    """Grows the table to `options.events` ended sagas, with a thousand lost ones among them."""
    async with Supervisor() as supervisor:
        postgres = await supervisor.add(EmbeddedPostgres())
        temporal = await supervisor.add(EmbeddedTemporal(ui=False))
        await asyncio.to_thread(migrate, postgres.url)
        client = await Client.connect(temporal.address)
        async with PostgresEventStore.open(postgres.url) as store:
            await _lose(client, store)
            looks = [await _look(client, store, ended=0)]
            await _fill(store, options.events)
            looks.append(await _look(client, store, ended=options.events))
    show(console, [_section(looks)])


async def _lose(client: Client, store: PostgresEventStore) -> None:
    """Terminate workflows, whose records then have no end."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> tuple[str, str]:
        async with gate:
            handle = await client.start_workflow("Tour", id=f"lost-{number}", task_queue="nobody")
            await handle.terminate()
            return handle.id, str(handle.first_execution_run_id)

    lost = await asyncio.gather(*map(one, range(LOST)))
    async with store.connection() as connection, connection.cursor() as cursor:
        await cursor.executemany(_LOST, [(saga, run, run) for saga, run in lost])


async def _fill(store: PostgresEventStore, ended: int) -> None:
    async with store.connection() as connection:
        await connection.execute("set statement_timeout = 0")
        await connection.execute(_ENDED, (ended,))
        await connection.execute("analyze sagas")
        await connection.execute("reset statement_timeout")


async def _look(client: Client, store: PostgresEventStore, *, ended: int) -> Look:
    tracemalloc.start()
    began, found, after = time.perf_counter(), 0, None
    while True:
        page = await lost_page(client, store, after, include_forgotten=False)
        found += len(page.lost)
        after = page.after
        if after is None:
            break
    seconds = time.perf_counter() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    in_database, plan = await _explained(client, store)
    return Look(ended, found, seconds, in_database, peak, plan)


async def _explained(client: Client, store: PostgresEventStore) -> tuple[float, str]:
    """The duration of the statements of all pages, and the index by which they found their rows."""
    in_database = 0.0
    cursor: tuple[str | None, str | None, str | None] = (None, None, None)
    async with store.connection() as connection:
        first = (client.namespace, None, *cursor, PAGE)
        lines = await (await connection.execute("explain " + OPEN_SAGAS, first)).fetchall()
        while True:
            began = time.perf_counter()
            arguments = (client.namespace, cursor[0], *cursor, PAGE)
            rows = await (await connection.execute(OPEN_SAGAS, arguments)).fetchall()
            in_database += time.perf_counter() - began
            if len(rows) < PAGE:
                break
            cursor = (rows[-1][4], rows[-1][0], rows[-1][2])
    scan = next((line for (line,) in lines if "Scan" in line), "?")
    return in_database, scan.split("(")[0].strip(" ->")


def _section(looks: list[Look]) -> Section:
    columns = ("ended sagas", "lost ones found", "seconds", "of them in the database", "memory", "how they are found")
    section = Section("The look of a round of recovery", columns)
    section.note = "Each lost saga's workflow is asked about at the server, twenty at a time; the memory is Python's own, at the most."
    for look in looks:
        measured = (f"{look.seconds:.2f}", f"{look.in_database:.3f}", f"{look.peak / 2**20:.1f} MB", look.plan)
        section.rows.append((f"{look.ended:,}", f"{look.found:,}", *measured))
    return section

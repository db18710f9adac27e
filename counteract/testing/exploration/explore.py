"""The call that users make: it sets an exploration up, runs it, and reports what was found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from rich.console import Console
from temporalio.client import Client

from counteract.messages import Command
from counteract.participants import Participants
from counteract.saga import SagaWorkflow
from counteract.store import MasterKey, PostgresEventStore
from counteract.testing.exploration.faults import NO_FAULT, Ending, Pace
from counteract.testing.exploration.laboratory import Laboratory, objection
from counteract.testing.exploration.options import OPTIONS
from counteract.testing.exploration.people import Correct, unchanged
from counteract.testing.exploration.report import Exploration, ExplorationFailed, Explored
from counteract.testing.exploration.selection import Choice, pairs_of
from counteract.testing.exploration.settings import Invariant, Request, Settings
from counteract.testing.exploration.worker.scripted import ScriptedServices
from counteract.testing.exploration.worker.services import RealServices, Services


async def explore(
    saga: type[SagaWorkflow],
    request: Request,
    *,
    participants: Participants | None = None,
    answers: Mapping[type[Command[Any]], Any] | None = None,
    external: Collection[type[Command[Any]]] = (),
    store: PostgresEventStore | None = None,
    client: Client | None = None,
    invariant: Invariant | None = None,
    at_rest: Callable[[], object | Awaitable[object]] | None = None,
    correct: Correct = unchanged,
    beside: Callable[[str], Any] | None = None,
    only: str | None = None,
    singles: bool = True,
    pairs: bool = False,
    sample: int | None = 50,
    seed: int | None = None,
    seconds: float | None = None,
    limit: float = 30.0,
    fail_fast: bool = False,
    concurrency: int = 16,
    console: Console | None = None,
) -> Exploration:
    """Run the saga once per fault at every step and every undo, and hold each run against the protocol of sagas.

    `request` is the saga's input, or a function that makes one from the run's workflow id, so that runs do not share
    aggregates.

    With `participants`, commands are carried out by the real handlers, on their own store. Without, a script answers
    each command, behind the real fence: with the entry of its class in `answers`, or else with some value of its result
    type. It takes the effects of the commands in `external` for external ones, and keeps the others in `store`.

    Temporal and PostgreSQL are embedded ones, unless `client` and `store` are given. On the client's server only a task
    queue of the exploration's own is used.

    `invariant` is called with each run once that is over, `at_rest` once at the end; either raises, or answers False,
    if something is wrong. `correct` is how a person corrects a command that is stuck; by default it is sent again as it
    is. `beside` makes, from a run's workflow id, the request of a second saga that shares aggregates with it; with
    scripts the default is the same request. What a person skipped is done by hand once the run has been judged, before
    the invariant sees it.

    `only` runs the faults of that name or pattern (`"BookHotel: *"`), or the pair of two (`"… + …"`). With `pairs`,
    `sample` pairs of faults (None: all) are added, drawn with `seed`; `pytest --explore-pairs N` does the same (see
    `counteract.testing.pytest_plugin`). Without `singles` there are only pairs.

    After `seconds` no further run begins; with `fail_fast` all runs end as soon as one is found to be broken. A run
    without progress for `limit` seconds counts as hung. `concurrency` runs go on side by side.

    Prints a table, to `console` if one is given. Raises ExplorationFailed, with a line for every failure that runs it
    again, and ConfigurationError where there is nothing to explore with: a handler or an answer is missing, or `only`
    names no fault.
    """
    settings = Settings(
        saga=saga,
        request=request,
        participants=participants,
        answers=answers or {},
        external=external,
        store=store,
        client=client,
        invariant=invariant,
        at_rest=at_rest,
        correct=correct,
        beside=beside,
        choice=Choice(only, singles, sample if pairs else OPTIONS.pairs, OPTIONS.seed if seed is None else seed),
        seconds=seconds,
        limit=limit,
        fail_fast=fail_fast,
        concurrency=concurrency,
    )
    exploration = await _explored(settings)
    exploration.print(console)
    if OPTIONS.show:
        OPTIONS.shown.append(exploration.text())
    if exploration.failures or exploration.at_rest:
        raise ExplorationFailed(exploration)
    return exploration


async def _explored(settings: Settings) -> Exploration:
    started = time.monotonic()
    async with _laboratory(settings) as laboratory:
        runs, possible = await _runs(laboratory)
        wrong = "; ".join(await laboratory.book.of_all())
        if not wrong and settings.at_rest is not None:
            wrong = await objection(settings.at_rest) or ""
    return Exploration(
        laboratory.name,
        runs,
        time.monotonic() - started,
        seed=settings.choice.seed if possible else None,
        possible_pairs=possible,
        at_rest=wrong or None,
    )


async def _runs(laboratory: Laboratory) -> tuple[list[Explored], int]:
    """All runs, and the number of pairs of faults that there are.

    A run without a fault shows the steps; if that goes wrong, it is the finding.
    """
    choice = laboratory.settings.choice
    clean = await laboratory.run(NO_FAULT)
    if clean.problems or clean.ending is not Ending.COMPLETED:
        return [clean], 0
    laboratory = laboratory.at(Pace(clean.seconds))
    singles = laboratory.faults(clean.evidence)
    runs = await laboratory.explore(choice.among(singles))
    return [clean, *runs], len(pairs_of(singles)) if choice.pairs != 0 else 0


@asynccontextmanager
async def _laboratory(settings: Settings) -> AsyncIterator[Laboratory]:
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(_services(settings))
        client = settings.client
        if client is None:
            client = await stack.enter_async_context(_embedded_client())
        yield await stack.enter_async_context(Laboratory.open(settings, client, services))


@asynccontextmanager
async def _services(settings: Settings) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        if settings.participants is not None:
            yield RealServices(settings.participants, answers=settings.answers)
        else:
            store = settings.store
            if store is None:
                store = await stack.enter_async_context(_embedded_store())
            yield ScriptedServices(store, answers=settings.answers, external=settings.external)


@asynccontextmanager
async def _embedded_store() -> AsyncIterator[PostgresEventStore]:
    from counteract.dev import EmbeddedPostgres
    from counteract.store.postgres.migrate import migrate

    async with EmbeddedPostgres() as postgres:
        await asyncio.to_thread(migrate, postgres.url)
        master_key = MasterKey.parse(MasterKey.new())
        async with PostgresEventStore.open(postgres.url, pool_size=20, master_key=master_key) as store:
            yield store


@asynccontextmanager
async def _embedded_client() -> AsyncIterator[Client]:
    from counteract.dev import EmbeddedTemporal

    async with EmbeddedTemporal(ui=False) as server:
        yield await Client.connect(server.address)

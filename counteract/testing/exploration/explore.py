"""The one call that users make."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console
from temporalio.client import Client

from counteract.messages import Command
from counteract.participants import Participants
from counteract.saga import SagaWorkflow
from counteract.store import MasterKey, PostgresEventStore
from counteract.testing.exploration.faults import NO_FAULT, Ending, Pace
from counteract.testing.exploration.laboratory import Explorer, Invariant, Limits, Request, objection
from counteract.testing.exploration.options import OPTIONS
from counteract.testing.exploration.report import Exploration, ExplorationFailed, Explored
from counteract.testing.exploration.run import Correct, People, unchanged
from counteract.testing.exploration.scripted import ScriptedServices
from counteract.testing.exploration.selection import Choice, pairs_of
from counteract.testing.exploration.services import RealServices, Services


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
    aggregates. With `participants` the handlers are the real ones, on their own store; without, each command is answered
    by a script behind the real fence, with its entry in `answers` or some value of its result type, and as an effect
    outside if it is listed in `external`. The servers are embedded ones, unless a `client` says which Temporal to use
    (only a task queue of the exploration's own is touched there) and `store` where scripts keep their effects.

    `invariant` is called after every run with what is known of it, `at_rest` once at the end; each raises, or answers
    False, if something is wrong. `correct` is how a person corrects a command that is stuck; by default it is sent again
    as it is. `beside` makes, from a run's workflow id, the request of a second saga that shares aggregates with it; with
    scripts it is the same request. What a person skips is done by hand once the run has been judged, and before an invariant sees it.

    `only` runs the faults of that name or pattern (`"BookHotel: *"`), or a pair of two. `pairs` adds `sample` pairs of
    faults (None: all), drawn with `seed`; so does `pytest --explore-pairs N` (see `counteract.testing.pytest_plugin`);
    without `singles` there are only those. After `seconds` no further run begins, and with `fail_fast` none goes on once
    another has turned out to be broken. One of which nothing becomes for `limit` seconds counts as hung.

    Prints a table. Raises ExplorationFailed, with a line for every failure that runs it again, and ConfigurationError
    where there is nothing to explore with: a handler or an answer is missing, or `only` names no fault.
    """
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(_services(participants, store, answers or {}, external))
        if client is None:
            client = await stack.enter_async_context(_embedded_client())
        people = People(correct, services.answer)
        limits = Limits(limit, concurrency)
        explorer = await stack.enter_async_context(
            Explorer.open(
                saga, request, client, services, invariant=invariant, people=people, beside=beside, limits=limits
            )
        )
        choice = Choice(only, singles, sample if pairs else OPTIONS.pairs, OPTIONS.seed if seed is None else seed)
        runs, possible = await _explored(explorer, choice, seconds, fail_fast)
        wrong = "; ".join(await explorer.book.of_all()) or (await objection(at_rest) if at_rest else None)
    exploration = Exploration(
        explorer.name,
        runs,
        time.monotonic() - started,
        seed=choice.seed if possible else None,
        possible_pairs=possible,
        at_rest=wrong,
    )
    exploration.print(console)
    if OPTIONS.show:
        OPTIONS.shown.append(exploration.text())
    if exploration.failures or wrong:
        raise ExplorationFailed(exploration)
    return exploration


async def _explored(
    explorer: Explorer, choice: Choice, seconds: float | None, fail_fast: bool
) -> tuple[list[Explored], int]:
    """With the number of pairs that there are. A run without a fault shows the steps; if it goes wrong, it is the finding."""
    clean = await explorer.run(NO_FAULT)
    if clean.problems or clean.ending is not Ending.COMPLETED:
        return [clean], 0
    explorer = replace(explorer, pace=Pace(clean.seconds))
    singles = explorer.faults(clean.evidence)
    runs = await explorer.explore(choice.among(singles), seconds=seconds, fail_fast=fail_fast)
    return [clean, *runs], len(pairs_of(singles)) if choice.pairs != 0 else 0


@asynccontextmanager
async def _services(
    participants: Participants | None,
    store: PostgresEventStore | None,
    answers: Mapping[type[Command[Any]], Any],
    external: Collection[type[Command[Any]]],
) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        if participants is not None:
            yield RealServices(participants, answers=answers)
        else:
            if store is None:
                store = await stack.enter_async_context(_embedded_store())
            yield ScriptedServices(store, answers=answers, external=external)


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

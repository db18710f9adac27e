"""The one call that users make."""

from __future__ import annotations

import asyncio
import difflib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from rich.console import Console
from temporalio.client import Client

from counteract.errors import ConfigurationError
from counteract.messages import Command
from counteract.participants import Participants
from counteract.saga import SagaWorkflow
from counteract.store import PostgresEventStore
from counteract.testing.exploration.explorer import Explorer, Invariant, Request, objection
from counteract.testing.exploration.faults import NO_FAULT, Ending, Fault
from counteract.testing.exploration.options import OPTIONS
from counteract.testing.exploration.report import Exploration, ExplorationFailed, Explored
from counteract.testing.exploration.scripted import ScriptedServices
from counteract.testing.exploration.services import RealServices, Services

Drawn = Callable[[Sequence[Fault]], list[Fault]]


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
    only: str | None = None,
    pairs: bool = False,
    sample: int = 50,
    seed: int | None = None,
    limit: float = 30.0,
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
    False, if something is wrong. `only` runs the faults of that name or pattern (`"BookHotel: *"`), or a pair of two. `pairs` adds
    `sample` pairs of faults, drawn with `seed`; so does `pytest --explore-pairs N` (see `counteract.testing.pytest_plugin`).
    A run that takes longer than `limit` seconds counts as hung.

    Prints a table. Raises ExplorationFailed, with a line for every failure that runs it again, and ConfigurationError
    where there is nothing to explore with: a handler or an answer is missing, or `only` names no fault.
    """
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(_services(participants, store, answers or {}, external))
        if client is None:
            client = await stack.enter_async_context(_embedded_client())
        explorer = await stack.enter_async_context(
            Explorer.open(saga, request, client, services, invariant=invariant, limit=limit, concurrency=concurrency)
        )
        count, seed = sample if pairs else OPTIONS.pairs, OPTIONS.seed if seed is None else seed
        runs = await _explored(explorer, _chooser(only, count, seed))
        wrong = await objection(at_rest) if at_rest else None
    exploration = Exploration(
        explorer.name, runs, time.monotonic() - started, seed=seed if count else None, at_rest=wrong
    )
    exploration.print(console)
    if exploration.failures or wrong:
        raise ExplorationFailed(exploration)
    return exploration


async def _explored(explorer: Explorer, choose: Drawn) -> list[Explored]:
    """The run without a fault shows the steps; if it goes wrong, there is nothing to explore."""
    clean = await explorer.run(NO_FAULT)
    if clean.problems or clean.ending is not Ending.COMPLETED:
        return [clean]
    return [clean, *await explorer.explore(choose(explorer.faults(clean.evidence)))]


def _chooser(only: str | None, pairs: int, seed: int) -> Drawn:
    def choose(singles: Sequence[Fault]) -> list[Fault]:
        if only is not None:
            return _named(only, singles)
        return [*singles, *_drawn(singles, pairs, seed)]

    return choose


def _named(only: str, singles: Sequence[Fault]) -> list[Fault]:
    """Those that match; of the two names of a pair, the pairs."""
    first, *second = (_matching(name, singles) for name in only.split(" + "))
    return [one + other for one in first for other in second[0]] if second else first


def _matching(pattern: str, singles: Sequence[Fault]) -> list[Fault]:
    found = [each for each in singles if fnmatchcase(str(each), pattern)]
    if not found:
        problem = f"{pattern!r}: {_similar(pattern, list(map(str, singles)))}"
        raise ConfigurationError("the saga has no such fault", [problem])
    return found


def _similar(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are {', '.join(known)}"


def _drawn(singles: Sequence[Fault], count: int, seed: int) -> list[Fault]:
    every = [(one, other) for one, other in combinations(singles, 2) if one.can_meet(other)]
    chosen = random.Random(seed).sample(every, min(count, len(every)))  # noqa: S311 - a sample, no secret
    return [one + other for one, other in chosen]


@asynccontextmanager
async def _services(
    participants: Participants | None,
    store: PostgresEventStore | None,
    answers: Mapping[type[Command[Any]], Any],
    external: Collection[type[Command[Any]]],
) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        if participants is not None:
            yield RealServices(participants)
        else:
            if store is None:
                store = await stack.enter_async_context(_embedded_store())
            yield ScriptedServices(store, answers=answers, external=external)


@asynccontextmanager
async def _embedded_store() -> AsyncIterator[PostgresEventStore]:
    from counteract.dev import EmbeddedPostgres
    from counteract.store.migrate import migrate

    async with EmbeddedPostgres() as postgres:
        await asyncio.to_thread(migrate, postgres.url)
        async with PostgresEventStore.open(postgres.url, pool_size=20) as store:
            yield store


@asynccontextmanager
async def _embedded_client() -> AsyncIterator[Client]:
    from counteract.dev import EmbeddedTemporal

    async with EmbeddedTemporal(ui=False) as server:
        yield await Client.connect(server.address)

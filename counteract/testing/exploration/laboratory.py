"""The laboratory: it runs a saga under one fault at a time, in a worker that also answers for all of its services."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from counteract.errors import ConfigurationError
from counteract.plugin import CounteractPlugin
from counteract.store import PostgresEventStore
from counteract.testing.exploration import aftermath
from counteract.testing.exploration.catalogue import catalogue
from counteract.testing.exploration.evidence import Evidence, Sent
from counteract.testing.exploration.faults import EITHER, Ending, Fault, Known, Pace
from counteract.testing.exploration.inquiry import gather, nothing_known
from counteract.testing.exploration.judgement.book import Book
from counteract.testing.exploration.judgement.decisions import skipped_steps
from counteract.testing.exploration.judgement.protocol import undone_steps, violations
from counteract.testing.exploration.people import People, see_to_what_was_skipped
from counteract.testing.exploration.report import Explored
from counteract.testing.exploration.run import Run
from counteract.testing.exploration.settings import Invariant, Settings
from counteract.testing.exploration.surroundings import Surroundings
from counteract.testing.exploration.worker.additions import ExploredAddition
from counteract.testing.exploration.worker.clock import ExploringInterceptor
from counteract.testing.exploration.worker.observation import WatchedLifecycle
from counteract.testing.exploration.worker.scripted import BESIDE, ScriptedServices
from counteract.testing.exploration.worker.services import Desk, Services

_START_DELAY = timedelta(milliseconds=500)
"""The delay of the saga that is cancelled before it begins."""
_GRACE = timedelta(seconds=1)
_THE_OTHER = Fault("the saga", "beside another", may_end=EITHER)
_RETRIED_ONCE = RetryPolicy(initial_interval=timedelta(milliseconds=20), maximum_attempts=2)


@dataclass(frozen=True, slots=True)
class Laboratory:
    """One saga in a worker of its own."""

    settings: Settings
    desk: Desk
    queue: str
    runs: dict[str, Run]
    book: Book
    around: Surroundings
    may_forget: bool
    """Whether the store's role may delete rows, as only the tables' owner may."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, client: Client, services: Services) -> AsyncIterator[Self]:
        """The laboratory for these settings, with its worker under way on a task queue that nobody else serves."""
        runs: dict[str, Run] = {}
        queue = f"explore-{uuid4().hex[:8]}"
        own_services = ScriptedServices(services.store, answers={}, external=())
        desk = Desk(services, runs, own_services.participant(ExploredAddition))
        own = Client(
            client.service_client,
            namespace=client.namespace,
            data_converter=client.data_converter,
            plugins=[CounteractPlugin(WatchedLifecycle(services.store, runs))],
        )
        worker = Worker(
            own,
            task_queue=queue,
            workflows=[settings.saga],
            activities=[desk.answer],
            interceptors=[ExploringInterceptor(runs, queue)],
            # The sandbox costs half of the time; whether the saga is deterministic, its other tests and workers tell.
            workflow_runner=UnsandboxedWorkflowRunner(),
            graceful_shutdown_timeout=_GRACE,
            # A cancellation arrives with a heartbeat's answer, and exploring is no place to wait for it.
            max_heartbeat_throttle_interval=timedelta(milliseconds=100),
        )
        async with worker:
            book, may_forget = Book(services.store), await _may_forget(services.store)
            around = Surroundings(own, People(settings.correct, services.answer), book)
            yield cls(settings, desk, queue, runs, book, around, may_forget)

    def at(self, pace: Pace) -> Self:
        """The same laboratory, whose further runs are given the time that this machine needs."""
        return replace(self, around=replace(self.around, pace=pace))

    @property
    def name(self) -> str:
        """The saga's workflow type."""
        return str(workflow._Definition.must_from_class(self.settings.saga).name)

    def faults(self, first: Evidence) -> list[Fault]:
        """All single faults for the saga, by the evidence of a run without any."""
        known = [self._known(each, first) for each in first.steps()]
        found = catalogue(
            known, has_deadline=first.deadline is not None, decisions=first.workflow_tasks, pace=self.around.pace
        )
        # Handlers of the user's need to be told how two sagas come to share what they work on.
        alone = self.settings.beside is None and not isinstance(self.desk.services, ScriptedServices)
        return [each for each in found if not (alone and each.beside) and (self.may_forget or not each.forgets)]

    async def explore(self, faults: Sequence[Fault]) -> list[Explored]:
        """A run for each of the faults, in their order.

        Runs that had not begun when the settings' `seconds` were over are left out, and so are, with `fail_fast`, those
        that were still under way when another one turned out to be broken.
        """
        seconds = self.settings.seconds
        over = time.monotonic() + (math.inf if seconds is None else seconds)
        left, done = iter(enumerate(faults)), dict[int, Explored]()
        broken = asyncio.Event()

        async def work() -> None:
            for number, fault in left:
                if time.monotonic() > over:
                    return
                done[number] = await self.run(fault)
                if self.settings.fail_fast and done[number].problems:
                    broken.set()

        await _until(broken, [work() for _ in range(self.settings.concurrency)])
        return [done[number] for number in sorted(done)]

    async def run(self, fault: Fault) -> Explored:
        """Run the saga under this fault to its end, and judge it. An error on the way is a finding as well."""
        started = time.monotonic()
        run = await self._prepared(fault)
        try:
            return await (self._beside(run, started) if fault.beside else self._explored(run, started))
        except asyncio.CancelledError:
            await run.stop("explore: another fault has broken the saga")
            raise
        except ConfigurationError:
            await run.stop("explore: there is nothing to explore it with")
            raise
        except Exception as error:
            await run.stop("explore: it cannot be judged")
            broken = f"its evidence cannot be read: {error!r}"
            return Explored(run.id, run.request, fault, nothing_known(run), (), not run.unmet, [broken])

    async def _beside(self, run: Run, started: float) -> Explored:
        """Run the saga with another one under way on the same aggregates, and judge both."""
        other = await self._prepared(_THE_OTHER, name=f"{run.id}{BESIDE}", shared=run)
        first, second = await asyncio.gather(self._explored(run, started), self._explored(other, started))
        wrong = [f"beside it: {each}" for each in second.problems]
        return replace(first, violations=[*first.violations, *wrong])

    async def _explored(self, run: Run, started: float) -> Explored:
        fault = run.fault
        evidence = await self._evidence(run)
        # A fault that never struck leaves open how the saga ends, but not how it leaves the world.
        may_end = fault.may_end | EITHER if run.unmet else fault.may_end
        found = violations(
            evidence, may_end, lambda each: self.desk.external(each.command), () if run.unmet else fault.causes
        )
        found += await self.book.of(run.id)
        skipped = skipped_steps(evidence)
        explored = Explored(
            id=run.id,
            request=run.request,
            fault=fault,
            evidence=evidence,
            undone=undone_steps(evidence),
            skipped=sorted(skipped),
            reached=not run.unmet,
            violations=[*found, *await see_to_what_was_skipped(run, skipped)],
            seconds=time.monotonic() - started,
        )
        return explored if self.settings.invariant is None else await _with_invariant(explored, self.settings.invariant)

    async def _prepared(self, fault: Fault, *, name: str | None = None, shared: Run | None = None) -> Run:
        """A run that has not begun; `shared` is the run on whose aggregates it is to work."""
        run_id = name or f"{self.queue}-{next(self.numbers)}"
        request = shared.request if shared else self.settings.request
        if shared and self.settings.beside is not None:
            request = self.settings.beside(shared.id)
        elif callable(request):
            request = request(run_id)
        request = await request if inspect.isawaitable(request) else request
        run = self.runs[run_id] = Run(run_id, request, fault, self.around)
        run.afterwards += fault.afterwards
        return run

    async def _evidence(self, run: Run) -> Evidence:
        await self.around.client.start_workflow(
            self.name,
            run.request,
            id=run.id,
            task_queue=self.queue,
            static_summary=str(run.fault),
            start_delay=_START_DELAY if run.fault.cancelled_at_start else None,
            run_timeout=run.fault.run_timeout,
            retry_policy=_RETRIED_ONCE if run.fault.retried or run.fault.run_timeout else None,
        )
        if run.fault.cancelled_at_start:
            await run.handle.cancel()
        held = 2 * run.fault.run_timeout.total_seconds() if run.fault.run_timeout else 0.0
        limit = max(self.settings.limit, self.around.pace.patience.total_seconds()) + held
        end = await aftermath.end(run, self.desk.services.store, self.queue, limit)
        await run.finish(within=self.settings.limit)
        evidence = await gather(run, self.desk.services.store, end)
        if end.ending is Ending.HUNG:
            await run.stop("explore: it did not come to an end")
        return evidence

    def _known(self, step: Sent, first: Evidence) -> Known:
        external, parallel = self.desk.external(step.command), step.place.step in first.together
        return Known(step.place.step, step.command.kind, step.group, external, step.repeats, parallel)


async def _may_forget(store: PostgresEventStore) -> bool:
    async with store.connection() as connection:
        row = await (await connection.execute("select has_table_privilege('commands', 'delete')")).fetchone()
    return bool(row and row[0])


async def _until(event: asyncio.Event, works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait for the end of all works; once the event is set, cancel those that are left."""
    tasks = [asyncio.create_task(work) for work in works]
    done = asyncio.ensure_future(asyncio.gather(*tasks))
    waiting = asyncio.create_task(event.wait())
    both: list[asyncio.Future[Any]] = [done, waiting]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if event.is_set():
        done.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    else:
        await done


async def _with_invariant(run: Explored, invariant: Invariant) -> Explored:
    return replace(run, judged=True, invariant=await objection(invariant, run))


async def objection(invariant: Callable[..., object | Awaitable[object]], *about: object) -> str | None:
    """The objection of a check that raises, or answers False; None where it does neither."""
    try:
        said = invariant(*about)
        if inspect.isawaitable(said):
            said = await said
    except Exception as error:  # any error of the user's own check is a finding, not a crash of the exploration
        return str(error).partition("\n")[0] or type(error).__name__
    return "it answered False" if said is False else None

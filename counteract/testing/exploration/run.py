"""One explored run, while it is under way: what was seen of it, and what is yet to happen in it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.workflow import ActivityHandle

from counteract.decider import Decider
from counteract.messages import Command, StreamId
from counteract.saga import Resolution, SagaReport
from counteract.testing.exploration.faults import Fault, Injection, Pace, Place
from counteract.testing.exploration.surroundings import PAUSE, Surroundings
from counteract.testing.exploration.worker.witness import Witnessed

if TYPE_CHECKING:
    from counteract.testing.exploration.attempt import Attempt


@dataclass(slots=True)
class Run:
    """One saga under one fault."""

    id: str
    request: Any
    fault: Fault
    around: Surroundings
    commands: dict[UUID, Command[Any]] = field(default_factory=dict)
    """The commands that the workflow sent, by command id."""
    flights: dict[int, list[ActivityHandle[Any]]] = field(default_factory=lambda: defaultdict(list))
    """The forward activities of each command, by its identity, in the order in which they were sent."""
    together: list[tuple[Command[Any], ...]] = field(default_factory=list)
    """The groups of commands that were sent with `parallel`."""
    unanswered: list[Command[Any]] = field(default_factory=list)
    """The commands for which the saga's code was given an error."""
    refused: list[UUID] = field(default_factory=list)
    """The ids of commands that a fault had refused."""
    fenced: set[tuple[str | None, str]] = field(default_factory=set)
    """The attempts that were refused because their undo had passed, by run id and activity id."""
    vanished: list[UUID] = field(default_factory=list)
    """The ids of the commands whose worker was killed."""
    listening: Counter[Place] = field(default_factory=Counter)
    """The number of attempts at each place that wait to be stopped."""
    run_ids: dict[str, None] = field(default_factory=dict)
    """The ids of all its workflow's runs, in their order."""
    others: dict[str, None] = field(default_factory=dict)
    """The ids of workflows that carried on in its name."""
    additions: list[str] = field(default_factory=list)
    """The error by which each step that exploration added was refused; empty for one that was answered."""
    afterwards: list[Callable[[Run], Awaitable[None]]] = field(default_factory=list)
    """The actions that are yet to come once its workflow has ended."""
    resets: int = 0
    resumed: bool = False
    """Whether it was lost past its pivot, and goes on in a run that a reset began."""
    is_paused: bool = False
    is_missed: bool = False
    """Whether it was over before an interruption came to it."""
    deadline: timedelta | None = None
    """The saga's deadline, as it declares it."""
    journal: list[Witnessed] = field(default_factory=list)
    decisions: list[Resolution] = field(default_factory=list)
    """The decisions about stuck steps that the saga accepted."""
    complaints: list[str] = field(default_factory=list)
    """Violations that were seen while they happened."""
    seen: Counter[Injection] = field(default_factory=Counter)
    """How many attempts each injection has been given."""
    met: Counter[Injection] = field(default_factory=Counter)
    """How often each injection has struck."""
    concluded: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    """By step, set once its undo or settlement has passed; all are set once the workflow has ended."""
    barred: set[str] = field(default_factory=set)
    """The steps whose undo, or settlement, has passed."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    moments: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    """Events by which attempts wait for one another, by name."""
    forgotten: set[UUID] = field(default_factory=set)
    """The commands whose row a fault has taken from the store."""
    sibling: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once another step of a group is under way."""
    begun_by_then: set[str] = field(default_factory=set)
    """The steps that had begun when it was paused."""
    corrected: dict[Place, Command[Any]] = field(default_factory=dict)
    """The command with which somebody had a step tried again, which every later attempt at it should carry."""
    skipped: list[Attempt] = field(default_factory=list)
    """The attempts at what somebody had the saga go on without."""
    _once: set[object] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def client(self) -> Client:
        """The client of the exploration's own worker."""
        return self.around.client

    @property
    def pace(self) -> Pace:
        """How fast this machine is, by the first run of the exploration."""
        return self.around.pace

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        """The handle of the workflow's latest run."""
        return self.client.get_workflow_handle(self.id)

    @property
    def unmet(self) -> bool:
        """Whether its fault never struck, so that the run proves nothing about it."""
        return self.is_missed or any(not self.met[each] for each in self.fault.injections)

    def witnessed(self, told: Witnessed) -> None:
        """Note what a handler did, for this run and for the exploration's records."""
        self.journal.append(told)
        self.around.recorder.witnessed(told)

    def loaded(self, decider: Decider[Any, Any], stream: StreamId, version: int) -> None:
        """Note that a handler has loaded a stream."""
        self.around.recorder.loaded(self.id, decider, stream, version)

    def forgets(self, command_id: UUID) -> None:
        """Note that a fault has taken the command's row from the store."""
        self.forgotten.add(command_id)
        self.around.recorder.forgotten(command_id)

    def once(self, what: object) -> bool:
        """True for the first to ask."""
        first = what not in self._once
        self._once.add(what)
        return first

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have something go on beside the saga; the run is over once that is as well."""
        self._tasks.add(task := asyncio.create_task(work))
        return task

    def complain(self, what: str) -> None:
        """Note a violation that is seen while it happens; the same one is noted once."""
        if what not in self.complaints:
            self.complaints.append(what)

    async def until(self, moment: str) -> None:
        """Wait for this moment, to which another attempt comes; not for ever, for there may be none any more."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.moments[moment].wait(), self.pace.hearing)

    async def until_concluded(self, step: str) -> None:
        """Wait until the step's undo (or settlement) has passed, or the workflow has ended."""
        if not self.ended.is_set():
            await self.concluded[step].wait()

    async def finish(self, *, within: float) -> None:
        """The workflow has ended: let happen what was waiting for that, for at most `within` seconds."""
        self.ended.set()
        for event in (*self.concluded.values(), *self.moments.values()):
            event.set()
        over = time.monotonic() + within
        while self.listening.total() and time.monotonic() < over:  # noqa: ASYNC110 - in another task, at an await of its own
            await asyncio.sleep(PAUSE)
        if not self._tasks:
            return
        done, late = await asyncio.wait(self._tasks, timeout=within)
        for task in late:
            task.cancel()
        if late or any(task.exception() for task in done):
            whys = ", ".join(repr(task.exception()) for task in done if task.exception())
            self.complain(f"what was to happen beside the saga did not come to its end: {whys or 'it took too long'}")

    async def give_up(self, why: str) -> None:
        """Note that the saga cannot be explored, and end it at once instead of waiting for its limits."""
        self.complain(why)
        await self.stop(why)

    async def stop(self, why: str) -> None:
        """End the workflow and everything beside it."""
        for task in self._tasks:
            task.cancel()
        with suppress(RPCError):
            await self.handle.terminate(why)

    async def report(self) -> SagaReport | None:
        """The saga's own report; None as long as it has not been opened."""
        answer: SagaReport | None = await self.handle.query("report", result_type=cast("Any", SagaReport | None))
        return answer

    async def has_answer(self, step: str) -> bool:
        """Whether the saga knows what became of this step."""
        report = await self.report()
        return any(each.step == step and each.outcome is not None for each in report.steps) if report else False

    async def is_stuck(self, step: str) -> bool:
        """Whether the saga reports this step as stuck."""
        report = await self.report()
        return any(each.step == step and each.stuck for each in report.steps) if report else False

    async def begun(self) -> set[str]:
        """The steps that the saga reports as begun."""
        report = await self.report()
        return {each.step for each in report.steps} if report else set()

    async def is_in_flight(self) -> bool:
        """Whether the saga reports a step without an outcome, or nothing at all."""
        report = await self.report()
        return report is None or any(step.outcome is None for step in report.steps)

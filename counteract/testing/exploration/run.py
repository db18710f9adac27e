"""One explored run while it lasts: what was seen of it, and what is still under way in it."""

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
    """What the workflow sent, by command id."""
    flights: dict[int, list[ActivityHandle[Any]]] = field(default_factory=lambda: defaultdict(list))
    """The forward activities of each command, by its identity, in the order in which they were sent."""
    together: list[tuple[Command[Any], ...]] = field(default_factory=list)
    """What was sent with `parallel`."""
    unanswered: list[Command[Any]] = field(default_factory=list)
    """What the saga's code got an error for."""
    refused: list[UUID] = field(default_factory=list)
    """The ids of commands that a fault had refused."""
    fenced: set[tuple[str | None, str]] = field(default_factory=set)
    """What was sent and refused because its undo had passed, by the workflow's run and the activity."""
    vanished: list[UUID] = field(default_factory=list)
    """The ids of those whose worker was killed."""
    listening: Counter[Place] = field(default_factory=Counter)
    """Attempts that are to be stopped, and wait for it."""
    run_ids: dict[str, None] = field(default_factory=dict)
    """Of all its workflow's runs, in their order."""
    others: dict[str, None] = field(default_factory=dict)
    """The ids of workflows that carried on in its name."""
    additions: list[str] = field(default_factory=list)
    """By what each step that exploration had added was refused; empty for one that was not."""
    afterwards: list[Callable[[Run], Awaitable[None]]] = field(default_factory=list)
    """What is yet to be done to its workflow once that has ended."""
    resets: int = 0
    resumed: bool = False
    """It was lost past its pivot, and goes on in a run of its own."""
    is_paused: bool = False
    is_missed: bool = False
    """It was over before an interruption came to it."""
    deadline: timedelta | None = None
    """As the saga declares it."""
    journal: list[Witnessed] = field(default_factory=list)
    decisions: list[Resolution] = field(default_factory=list)
    """What somebody decided about stuck steps, and the saga accepted."""
    complaints: list[str] = field(default_factory=list)
    """Violations that were seen while they happened."""
    seen: Counter[Injection] = field(default_factory=Counter)
    """How many attempts each injection has been given."""
    met: Counter[Injection] = field(default_factory=Counter)
    """How often each has struck."""
    concluded: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    """By step: its undo, or its settlement, has passed; all of them once the workflow has ended."""
    barred: set[str] = field(default_factory=set)
    """The steps whose undo, or settlement, has passed."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    moments: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    """What attempts tell one another, by its name."""
    forgotten: set[UUID] = field(default_factory=set)
    """The commands whose row a fault has taken from the store."""
    sibling: asyncio.Event = field(default_factory=asyncio.Event)
    """Another step of a group is under way."""
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
        """How fast the machine is, by the first run of this exploration."""
        return self.around.pace

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.id)

    @property
    def unmet(self) -> bool:
        """Its fault never struck, so that the run proves nothing about it."""
        return self.is_missed or any(not self.met[each] for each in self.fault.injections)

    def witnessed(self, told: Witnessed) -> None:
        self.journal.append(told)
        self.around.recorder.witnessed(told)

    def loaded(self, decider: Decider[Any, Any], stream: StreamId, version: int) -> None:
        self.around.recorder.loaded(self.id, decider, stream, version)

    def forgets(self, command_id: UUID) -> None:
        self.forgotten.add(command_id)
        self.around.recorder.forgotten(command_id)

    def once(self, what: object) -> bool:
        """True for the first to ask."""
        first = what not in self._once
        self._once.add(what)
        return first

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something that goes on beside the saga; the run is over once it is."""
        self._tasks.add(task := asyncio.create_task(work))
        return task

    def complain(self, what: str) -> None:
        """Note a violation that was seen while it happened; again: once is enough."""
        if what not in self.complaints:
            self.complaints.append(what)

    async def until(self, moment: str) -> None:
        """Until another attempt says so; there may be none any more."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.moments[moment].wait(), self.pace.hearing)

    async def until_concluded(self, step: str) -> None:
        """Until the step's undo (or settlement) has passed, or there will be none."""
        if not self.ended.is_set():
            await self.concluded[step].wait()

    async def finish(self, *, within: float) -> None:
        """The workflow has ended: let what was waiting for that happen."""
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
        """It cannot be explored: end it at once instead of waiting for its limits."""
        self.complain(why)
        await self.stop(why)

    async def stop(self, why: str) -> None:
        """Leave nothing of it behind."""
        for task in self._tasks:
            task.cancel()
        with suppress(RPCError):
            await self.handle.terminate(why)

    async def report(self) -> SagaReport | None:
        answer: SagaReport | None = await self.handle.query("report", result_type=cast("Any", SagaReport | None))
        return answer

    async def has_answer(self, step: str) -> bool:
        """Whether the saga knows what became of this step."""
        report = await self.report()
        return any(each.step == step and each.outcome is not None for each in report.steps) if report else False

    async def is_stuck(self, step: str) -> bool:
        """Whether the saga says so of this step."""
        report = await self.report()
        return any(each.step == step and each.stuck for each in report.steps) if report else False

    async def begun(self) -> set[str]:
        report = await self.report()
        return {each.step for each in report.steps} if report else set()

    async def is_in_flight(self) -> bool:
        report = await self.report()
        return report is None or any(step.outcome is None for step in report.steps)

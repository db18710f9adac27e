"""One explored run while it lasts, and the single attempts in it, as faults see them."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from uuid import UUID

from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError

from counteract.messages import Command, Dispatch
from counteract.participants.handlers import Role
from counteract.saga import Resolution, SagaReport
from counteract.testing.exploration.faults import Fault, Injection, Layer, Place, Proceed

DEADLINE_SIGNAL = "counteract-explore-deadline"
_PAUSE = 0.02
"""Seconds between two looks at a workflow."""


class Witnessed(NamedTuple):
    """A handler's function ran to its end: for an external effect, it happened."""

    role: Role
    command_id: UUID
    """The original's, for an undo too."""


@dataclass(slots=True)
class Run:
    """One saga under one fault."""

    id: str
    request: Any
    fault: Fault
    client: Client
    commands: dict[UUID, type[Command[Any]]] = field(default_factory=dict)
    """What the workflow sent, by command id."""
    has_deadline: bool = False
    journal: list[Witnessed] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Violations that were seen while they happened."""
    seen: Counter[Injection] = field(default_factory=Counter)
    """How many attempts each injection has been given."""
    met: Counter[Injection] = field(default_factory=Counter)
    """How often each has struck."""
    concluded: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    """By step: its undo, or its settlement, has passed; all of them once the workflow has ended."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.id)

    @property
    def unmet(self) -> bool:
        """Its fault never struck, so that the run proves nothing about it."""
        return any(not self.met[each] for each in self.fault.injections)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that goes on beside the saga; the run is over once it is."""
        self._tasks.add(asyncio.create_task(work))

    def complain(self, what: str) -> None:
        """Note a violation that was seen while it happened; again: once is enough."""
        if what not in self.complaints:
            self.complaints.append(what)

    async def until_concluded(self, step: str) -> None:
        """Until the step's undo (or settlement) has passed, or there will be none."""
        if not self.ended.is_set():
            await self.concluded[step].wait()

    async def finish(self, *, within: float) -> None:
        """The workflow has ended: let what was waiting for that happen."""
        self.ended.set()
        for event in self.concluded.values():
            event.set()
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
        with suppress(RPCError):
            await self.handle.terminate(why)

    # What faults do to the workflow. Each returns once the workflow has taken notice.

    async def cancel(self) -> None:
        with suppress(RPCError):
            await self.handle.cancel()
            await self.report()

    async def pass_deadline(self) -> None:
        with suppress(RPCError):
            await self.handle.signal(DEADLINE_SIGNAL)
            await self.report()

    async def pause(self) -> None:
        await self.handle.signal("pause")
        await self.report()

    async def between_steps(self, interruption: Coroutine[Any, Any, None]) -> None:
        """Interrupt the paused saga once nothing is in flight, then let it go on."""
        while not self.ended.is_set() and await self._in_flight():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(_PAUSE)
        await interruption
        with suppress(RPCError):
            await self.handle.signal("resume")

    async def resolve(self, step: str) -> None:
        """Have the step tried again as soon as it is stuck."""
        decision = Resolution(step=step, decision="retry", who="explore", why="the fault has passed")
        while not self.ended.is_set():
            try:
                await self.handle.execute_update("resolve", decision)
            except WorkflowUpdateFailedError:
                await asyncio.sleep(_PAUSE)
            except RPCError:
                return
            else:
                return

    async def report(self) -> SagaReport | None:
        answer: SagaReport | None = await self.handle.query("report", result_type=cast("Any", SagaReport | None))
        return answer

    async def _in_flight(self) -> bool:
        report = await self.report()
        return report is None or any(step.outcome is None for step in report.steps)


@dataclass(slots=True)
class Encounter:
    """One attempt at one activity of a run."""

    run: Run
    place: Place
    command: Command[Any]
    dispatch: Dispatch
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Its handler has come to where a fault holds it."""
    _chosen: list[Injection] | None = None

    async def through(self, layer: Layer, proceed: Proceed) -> Any:
        """Go on through whatever stands around this layer in this attempt."""
        for injection in self._injections():
            if injection.layer is layer:
                self.run.met[injection] += 1
                proceed = _wrapped(self, injection, proceed)
        return await proceed()

    def _injections(self) -> list[Injection]:
        """Chosen once per attempt: one that is delivered twice, or decides anew, stays under the same fault."""
        if self._chosen is None:
            own = [each for each in self.run.fault.injections if each.place == self.place]
            self._chosen = [each for each in own if each.times is None or self.run.seen[each] < each.times]
            self.run.seen.update(self._chosen)
        return self._chosen


CURRENT: ContextVar[Encounter] = ContextVar("the attempt that this task works on")


def _wrapped(encounter: Encounter, injection: Injection, proceed: Proceed) -> Proceed:
    return lambda: injection.around(encounter, proceed)

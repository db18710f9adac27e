"""One explored run while it lasts, and the single attempts in it, as faults see them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, cast
from uuid import UUID

from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.workflow import ActivityHandle

from counteract.decider import Decider
from counteract.errors import ConfigurationError
from counteract.messages import Command, Dispatch, StreamId
from counteract.saga import Resolution, SagaReport, SagaStatus
from counteract.testing.exploration.faults import UNHURRIED, Fault, Injection, Layer, Pace, Place, Proceed
from counteract.testing.exploration.witness import Recorder, Witnessed

Correct = Callable[[Command[Any]], Command[Any]]
Forget = Callable[[], Awaitable[None]]

DEADLINE_SIGNAL = "counteract-explore-deadline"
ADD_BY_SIGNAL = "counteract-explore-add"
ADD_BY_UPDATE = "counteract-explore-add-and-wait"
ADDED = Place("ExploredAddition")
"""The step of exploration's own that these send."""
_PAUSE = 0.02
"""Seconds between two looks at a workflow."""


def unchanged(command: Command[Any]) -> Command[Any]:
    """A correction that leaves the command as it is."""
    return command


@dataclass(frozen=True, slots=True)
class People:
    """Those who decide about stuck steps."""

    correct: Correct
    """What they send instead of a command that is stuck."""
    answer: Callable[[type[Command[Any]]], Any]
    """What a step that they skip is taken to have returned."""


@dataclass(slots=True)
class Rounds:
    """Rounds of recovery, one at a time: each is for all who have asked before it begins."""

    _begun: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def after_now(self, begin: Callable[[], Awaitable[None]]) -> None:
        """Return once a round is over that began after this was called."""
        before = self._begun
        async with self._lock:
            if self._begun == before:
                self._begun += 1
                await begin()


@dataclass(slots=True)
class Run:
    """One saga under one fault."""

    id: str
    request: Any
    fault: Fault
    client: Client
    people: People
    recorder: Recorder
    rounds: Rounds
    pace: Pace = UNHURRIED
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
    _begun_by_then: set[str] = field(default_factory=set)
    """The steps that had begun when it was paused."""
    _once: set[object] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _corrected: dict[Place, Command[Any]] = field(default_factory=dict)
    _skipped: list[Encounter] = field(default_factory=list)

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.id)

    @property
    def unmet(self) -> bool:
        """Its fault never struck, so that the run proves nothing about it."""
        return self.is_missed or any(not self.met[each] for each in self.fault.injections)

    def witnessed(self, told: Witnessed) -> None:
        self.journal.append(told)
        self.recorder.witnessed(told)

    def loaded(self, decider: Decider[Any, Any], stream: StreamId, version: int) -> None:
        self.recorder.loaded(self.id, decider, stream, version)

    def forgets(self, command_id: UUID) -> None:
        self.forgotten.add(command_id)
        self.recorder.forgotten(command_id)

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
            await asyncio.sleep(_PAUSE)
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

    # What faults do to the workflow. Each returns once the workflow has taken notice.

    async def terminate(self) -> None:
        with suppress(RPCError):
            await self.handle.terminate("explore: terminated")

    async def cancel(self) -> None:
        await self._interrupt(self.handle.cancel())

    async def cancel_at_the_end(self) -> None:
        """In the midst of a workflow task, so that nothing is asked of the workflow."""
        if self.once("cancelled at its end"):
            with suppress(RPCError):
                await self.handle.cancel()

    async def pass_deadline(self) -> None:
        await self._interrupt(self.handle.signal(DEADLINE_SIGNAL))

    async def _interrupt(self, sent: Coroutine[Any, Any, None]) -> None:
        try:
            await sent
        except RPCError:
            self.is_missed = True
            return
        with suppress(RPCError):
            answer = await self.report()
            # It had come to its end by then, though its workflow had not.
            self.is_missed = answer is not None and answer.status is SagaStatus.COMPLETED

    async def pause(self) -> None:
        await self.handle.signal("pause")
        self.is_paused = True
        self._begun_by_then = await self._begun()

    async def between_steps(self, interruption: Coroutine[Any, Any, None]) -> None:
        """Interrupt the paused saga once nothing is in flight, then let it go on."""
        while not self.ended.is_set() and await self._in_flight():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(_PAUSE)
        for step in (await self._begun()) - self._begun_by_then:
            self.complain(f"{step} began although the saga was paused")
        await interruption
        with suppress(RPCError):
            await self.handle.signal("resume")
            self.is_paused = False

    async def resolve(self, encounter: Encounter, decision: Literal["retry", "skip"], **more: Any) -> None:
        """Decide what becomes of a step as soon as it is stuck."""
        step = encounter.place.step
        resolution = Resolution(step=step, decision=decision, who="explore", why="the fault has passed", **more)
        while not self.ended.is_set():
            try:
                await self.handle.execute_update("resolve", resolution)
            except WorkflowUpdateFailedError:
                await asyncio.sleep(_PAUSE)
            except RPCError:
                return
            else:
                self.decisions.append(resolution)
                if decision == "skip":
                    self._skipped.append(encounter)
                return

    async def takes_decision(self, step: str) -> bool:
        """Whether the saga lets somebody decide on this step now."""
        resolution = Resolution(step=step, decision="retry", who="explore", why="too late")
        try:
            await self.handle.execute_update("resolve", resolution)
        except (WorkflowUpdateFailedError, RPCError):
            return False
        return True

    async def resolve_corrected(self, encounter: Encounter, *, at_once: bool = True) -> None:
        """Have the step tried again with another command, which every later attempt is held to, if it is to be at once."""
        corrected = self.people.correct(encounter.command)
        if at_once:
            self._corrected[encounter.place] = corrected
        await self.resolve(encounter, "retry", command=corrected.model_dump(mode="json"))

    async def resolve_skipped(self, encounter: Encounter) -> None:
        """Have the saga go on without the step, or without its undo."""
        result, command = None, type(encounter.command)
        if not encounter.dispatch.undoes:
            try:
                result = command.spec.result.dump_python(self.people.answer(command), mode="json")
            except ConfigurationError as error:
                await self.give_up(str(error))
        await self.resolve(encounter, "skip", result=result)

    def is_corrected(self, encounter: Encounter) -> bool:
        """Whether this attempt is what somebody decided on: others may be on their way yet."""
        sent = [each.command for each in self.decisions if each.step == encounter.place.step]
        return all(each is None or each == encounter.command.model_dump(mode="json") for each in sent)

    def expect_corrected(self, encounter: Encounter) -> None:
        """An attempt begins: if somebody corrected its command, it should be the one."""
        wanted = self._corrected.get(encounter.place, encounter.command)
        if wanted != encounter.command:
            self.complain(f"{encounter.place} was tried again without the correction of its command")

    async def see_to_what_was_skipped(self, steps: Collection[str]) -> list[str]:
        """Do by hand what somebody said was not the saga's concern any more; what went wrong with that."""
        wrong = []
        for encounter in (each for each in self._skipped if each.place.step in steps):
            try:
                await encounter.see_to_it()
            except Exception as error:  # whatever it is, it is what a person would have met
                wrong.append(f"{encounter.place} was skipped, and cannot be done by hand either: {error!r}")
        return wrong

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

    async def _begun(self) -> set[str]:
        report = await self.report()
        return {each.step for each in report.steps} if report else set()

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
    by_hand: Proceed
    """What it is about, done without the saga."""
    forget: Forget
    """Have the store forget what it has on record of this."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Its handler has come to where a fault holds it."""
    unnoticed: bool = False
    """Its attempt is over, and what it does now nobody can know."""
    decided: int = 0
    """How often its handler was given something to decide on: a stream, or, outside, the command."""
    _chosen: list[Injection] | None = None

    async def through(self, layer: Layer, proceed: Proceed) -> Any:
        """Go on through whatever stands around this layer in this attempt."""
        for injection in self._injections():
            if injection.layer is layer:
                self.run.met[injection] += 1
                proceed = _wrapped(self, injection, proceed)
        return await proceed()

    async def see_to_it(self) -> None:
        """Without any fault."""
        CURRENT.set(replace(self, _chosen=[]))
        await self.by_hand()

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

"""The steps of a saga that are in flight, and what must be known of them before the saga goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from temporalio import workflow

from counteract.errors import Rejected, SagaClosed, SagaContradicted, SagaMisuse, StepFailed
from counteract.messages import Command, CommandKind, Outcome, Role
from counteract.saga.course import IN_HANDLER, Course
from counteract.saga.dispatcher import Options, Park, check_sendable
from counteract.saga.display import Display
from counteract.saga.failure import describe, is_saga_failure
from counteract.saga.ledger import Ledger, Step
from counteract.saga.record import Record
from counteract.saga.reset import check_after_reset
from counteract.saga.resolution import Parking, Resolution, corrected, reading
from counteract.saga.sizes import at_once
from counteract.saga.stepper import Stepper
from counteract.saga.tasks import AT_ONCE, afterwards, at_most, settled, to_the_end


@dataclass(slots=True)
class Flights:
    """Sends the steps of one saga out, and keeps count of those that are in flight."""

    course: Course
    ledger: Ledger
    record: Record
    stepper: Stepper
    parking: Parking
    display: Display
    on_failure: Park | None
    body: asyncio.Task[Any] | None = None
    # In start order: a set's order differs from replay to replay.
    _under_way: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    _of_handlers: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    """Those that the handlers of signals and updates wait for, and the saga's code does not."""
    _calls: int = 0
    """The number of calls of the saga's own code, handlers left out, that wait for an answer, or to be sent."""
    _callers: set[asyncio.Task[Any]] = field(default_factory=set)
    """The tasks of the saga's own code that have called, and go on."""
    _is_landing: bool = False
    """The saga's code is through: nobody but the saga itself waits for its tasks."""
    _failure: BaseException | None = None
    """The failure that the first of those tasks has ended with since."""

    async def run(self, commands: Sequence[Command[Any]], options: Options) -> list[Any]:
        """Send the commands at once, and return the answers in their order.

        Raises Rejected, StepFailed, SagaClosed, SagaMisuse.
        """
        if not commands:
            return []
        if IN_HANDLER.get():
            # What becomes of its failure is for the handler to say.
            return await self._run(commands, options)
        self._attend(asyncio.current_task())
        self._calls += 1
        with afterwards(self._call_over):
            return await self._run(commands, options)

    async def _run(self, commands: Sequence[Command[Any]], options: Options) -> list[Any]:
        check_sendable(commands, options)
        await self._may_go_on()
        if not await self.record.refresh(f"step {len(self.ledger.steps) + 1}"):
            await check_after_reset(self.ledger, self.record.dispatcher)
        await self.decided()
        if any(command.kind is CommandKind.PIVOT for command in commands):
            await self._clear_the_way()
        self._raise_if_stopped()
        steps = self._armed(commands, options)
        self.display.update(steps[0].key)
        most = at_once(commands, options.at_once)
        gate = asyncio.Semaphore(most) if len(steps) > most else None
        flights = [
            asyncio.create_task(self._take_off(step, options, gate) if gate else self._fly(step, options))
            for step in steps
        ]
        for flight in flights:
            self._under_way[flight] = None
            flight.add_done_callback(self._under_way.pop)
            if IN_HANDLER.get():
                self._of_handlers[flight] = None
                flight.add_done_callback(self._of_handlers.pop)
        try:
            # Only what can be undone is asked to stop: beyond, the way is forward.
            return await settled(flights, cancel=all(step.kind is CommandKind.COMPENSATABLE for step in steps))
        except (Exception, asyncio.CancelledError) as failure:
            if isinstance(failure, asyncio.CancelledError) and _are_beyond(steps):
                return [flight.result() for flight in flights]
            # Answers that nobody got cannot be relied upon, should the saga's code catch this and go on.
            self.ledger.disown(steps)
            # What was to stop the saga may have had to wait for a pivot that was then refused.
            if asyncio.current_task() is not self.body:
                self.stop_if_interrupted()
            self.raise_if_interrupted()
            raise

    def _attend(self, caller: asyncio.Task[Any] | None) -> None:
        if caller is not None and caller is not self.body and caller not in self._callers:
            self._callers.add(caller)
            caller.add_done_callback(self._caller_ended)

    def _caller_ended(self, caller: asyncio.Task[Any]) -> None:
        self._callers.discard(caller)
        if not self._is_landing or self._failure is not None or caller.cancelled():
            return
        if (failure := caller.exception()) is not None and is_saga_failure(failure):
            self._failure = failure

    def _call_over(self) -> None:
        self._calls -= 1

    def _armed(self, commands: Sequence[Command[Any]], options: Options) -> list[Step]:
        """Arm the steps, before they are sent: one that timed out may still have happened."""
        try:
            steps = self.ledger.begin(commands)
        except SagaMisuse as misuse:
            if IN_HANDLER.get():
                raise SagaClosed(str(misuse)) from None
            raise
        for step in steps:
            step.attempt_timeout = options.attempt_timeout
            step.run = options.child.run if options.child else None
        self.record.own(steps)
        return steps

    async def _take_off(self, step: Step, options: Options, gate: asyncio.Semaphore) -> Any:
        try:
            await self._come_to_its_turn(gate)
        except asyncio.CancelledError:
            self.ledger.settle(step, Outcome.UNKNOWN if self._was_sent_before(step) else Outcome.NOT_APPLIED)
            raise
        with afterwards(gate.release):
            return await self._fly(step, options)

    def _was_sent_before(self, step: Step) -> bool:
        """Whether an earlier run sent the step, which in this run never came to its turn."""
        # The old branch can go once no saga is under way that was stopped, on a release without it, in a reset's run.
        is_known = step.dispatch_key in self.record.come_by
        return is_known and workflow.patched("counteract: sent before, and not come to its turn")

    async def _come_to_its_turn(self, gate: asyncio.Semaphore) -> None:
        await gate.acquire()
        try:
            await self.decided()
            # The old branch can go once no saga is under way that was paused on a release without it.
            while self.course.is_held and workflow.patched("counteract: what is to come to its turn is held up too"):
                await workflow.wait_condition(lambda: not self.course.is_held)
        except asyncio.CancelledError:
            gate.release()
            raise

    async def _fly(self, step: Step, options: Options) -> Any:
        if (given_up := await self.stepper.given_up(step)) is not None:
            return given_up.result
        while True:
            try:
                return await self.stepper.forward(step, options)
            except (Rejected, StepFailed) as failure:
                if options.tolerates_refusals and (refusal := await self._tolerated(step, failure)):
                    return refusal
                park = options.on_failure or self.on_failure
                decision = await self._parked(step, failure, park) if park and not _is_to_stop() else None
                if decision is None or decision.decision == "fail":
                    raise
                if decision.decision == "skip":
                    read = reading(step)
                    step.skipped = self.record.is_kept
                    await self.record.skips.put(step, decision, "step")
                    return read(decision.result)
            await self._again(step, decision)

    async def _tolerated(self, step: Step, failure: Rejected | StepFailed) -> Rejected | None:
        """The refusal, which is no failure; the step is undone first where an earlier attempt may have happened."""
        if isinstance(failure, Rejected):
            return failure
        if failure.refusal is not None:
            await to_the_end(self.stepper.undo(step, Role.UNDO))
        return failure.refusal

    async def _parked(self, step: Step, failure: Exception, park: Park) -> Resolution | None:
        """The decision of a person about a step that failed; None if there is none before the saga is to stop."""

        def flies_on() -> None:
            step.parked = step.stuck = False
            self.display.update()

        step.parked = step.stuck = True
        self.display.update(step.key)
        with afterwards(flies_on), suppress(TimeoutError):
            return await self.parking.ask(step, describe(failure), timeout=park.timeout, moot=self.is_stopped)
        return None

    async def _again(self, step: Step, decision: Resolution) -> None:
        """Arm a failed step anew, as a new command. What the old one did, or may do yet, is undone first."""
        if step.kind is CommandKind.PIVOT:
            await workflow.wait_condition(lambda: not self.ledger.in_flight)
            await self._clear_the_way()
        elif step.outcome is Outcome.UNKNOWN:
            await to_the_end(self.stepper.undo(step, Role.UNDO))
        if (flight := asyncio.current_task()) and flight.cancelling():
            raise asyncio.CancelledError
        self._raise_if_stopped()
        await self._may_go_on()
        while step.kind is CommandKind.PIVOT and (self.ledger.in_flight or self.ledger.unknown()):
            # A handler that was held up too has gone first.
            await workflow.wait_condition(lambda: not self.ledger.in_flight)
            await self._clear_the_way()
            await self._may_go_on()
        self.ledger.again(step, corrected(step, decision))
        # An earlier run may have sent the very same.
        self.record.own([step])

    async def _may_go_on(self) -> None:
        if self.body is None and IN_HANDLER.get():
            raise SagaClosed("the saga has not begun")
        if self.body is None:
            raise SagaMisuse("open the saga first: `async with self.saga() as saga:`, and its steps inside")
        if self.course.is_closing and not IN_HANDLER.get():
            raise SagaMisuse("this saga is over: a step can only begin inside its `async with`")
        await self._opened()
        self._raise_if_stopped()
        while self.course.is_held:
            await workflow.wait_condition(lambda: not self.course.is_held)
        self._raise_if_stopped()

    async def _opened(self) -> None:
        """Wait until the saga is open: a step that a handler sends before would be held against nothing."""
        # The old branch can go once no saga is under way that began on a release without it.
        if not self.course.is_open and workflow.patched("counteract: no step before the saga is open"):
            await workflow.wait_condition(lambda: self.course.is_open or self.course.is_closing)

    def _raise_if_stopped(self) -> None:
        """Let no step begin any more where the saga's code has failed elsewhere meanwhile.

        Raises SagaClosed in a handler, else CancelledError.
        """
        if not (self.is_stopped() or self._heard_failure()):
            return
        if IN_HANDLER.get():
            raise SagaClosed("the saga turns back, or is over: no further step can begin")
        raise asyncio.CancelledError

    async def decided(self) -> None:
        """Return once it is known of each interruption whether it stops the saga: until then no step is to begin."""
        while self.course.pending:
            await workflow.wait_condition(lambda: not self.course.pending)

    def is_stopped(self) -> bool:
        """Whether no further step is to begin: the saga is to turn back, or closing."""
        return self.course.is_closing or (self.course.interruption is not None and self.ledger.pivot is None)

    def stop_if_interrupted(self) -> None:
        """Cancel the saga's own code, whatever it waits for, if the saga is stopped."""
        if self.body and not self.course.is_closing and self.is_stopped():
            self.body.cancel()

    def raise_if_interrupted(self) -> None:
        """Raises CancelledError where the saga was interrupted before its pivot."""
        if self.course.interruption and self.ledger.pivot is None:
            raise asyncio.CancelledError

    async def landed(self) -> None:
        """Wait for steps that nobody awaited, and undo those that nobody knows about.

        Raises the first failure that a task of the saga's own has ended with; and CancelledError where the saga is
        stopped, at once: those that are left are asked to stop then.
        """
        self._is_landing = True
        # Tasks of the saga's own code may send out further ones meanwhile.
        while self.are_out() or self.ledger.unknown():
            await self._come_home()
            await self._undo_unknown()
        self.raise_failure()

    async def _come_home(self) -> None:
        if not self.are_out() or not self._is_heard():
            await settled(list(self._under_way), cancel=False)
            return
        self.raise_if_interrupted()
        await workflow.wait_condition(lambda: self._failure is not None or not (self._under_way or self._calls))
        self.raise_failure()

    def are_out(self) -> bool:
        """Whether steps are in flight, or the saga's own tasks wait to send some."""
        return bool(self._under_way) or (self._calls > 0 and self._is_heard())

    def raise_failure(self) -> None:
        """Raises the first failure that a task of the saga's own has ended with at the saga's end."""
        if failure := self._heard_failure():
            raise failure

    def _heard_failure(self) -> BaseException | None:
        return self._failure if self._failure is not None and self._is_heard() else None

    def _is_heard(self) -> bool:
        """Whether a task that goes on at the saga's end counts.

        If so it can be stopped, its failure is the saga's, and a step that it has yet to send is waited for.
        """
        # The old branch can go once no saga is under way that left its block, on a release without it, with tasks of
        # its own.
        return workflow.patched("counteract: what is in flight at the end can be stopped")

    async def settle(self, *, cancel: bool) -> None:
        """Wait until it is known what became of each step in flight; with `cancel`, ask them to stop first."""
        for flight in list(self._under_way) if cancel else ():
            flight.cancel()
        while self._under_way:
            await workflow.wait(list(self._under_way))

    async def _undo_unknown(self) -> None:
        """Undo the steps that may have happened, and that the saga's code went on without."""
        if self.record.is_past_pivot:
            await self._look_up_unknown()
        while groups := self.ledger.unknown():
            most = at_once([step.command for step in groups[0]], AT_ONCE)
            await at_most(most, [partial(self.stepper.undo, step, Role.UNDO) for step in groups[0]])

    async def _look_up_unknown(self) -> None:
        """Ask the store about those steps where an earlier run has passed the pivot: behind it nothing is undone."""
        if wrong := await self.record.look_up([step for group in self.ledger.unknown() for step in group]):
            raise SagaContradicted(wrong)

    async def leave_nothing_behind(self) -> None:
        """Undo what earlier runs did, and this one's code has not come by."""
        if not self.record.is_past_pivot:
            await self.record.adopt(pivot=False)
            await self._undo_unknown()

    async def _clear_the_way(self) -> None:
        """Undo, before the pivot, what would be left to undo behind it; and wait while the saga is paused."""
        if not self.record.is_past_pivot:
            await self.record.adopt(pivot=False)
        own = asyncio.current_task()

        def are_home() -> bool:
            return all(flight is own for flight in self._of_handlers)

        while not are_home() or self.ledger.unknown():
            # A signal comes when it comes: what it set going is no mistake of the saga's code.
            await workflow.wait_condition(are_home)
            await self._undo_unknown()
            await self._may_go_on()


def _are_beyond(steps: Sequence[Step]) -> bool:
    """Whether code that was no longer to wait for these steps (`asyncio.timeout`) gets their answers all the same.

    All of them have taken effect, and there is no way back from that. An error would say otherwise.
    """
    only_forward = all(step.kind is not CommandKind.COMPENSATABLE and step.outcome is Outcome.APPLIED for step in steps)
    # The old branch can go once no saga is under way whose code went on without such a step on a release without it.
    return only_forward and workflow.patched("counteract: what has taken effect beyond the way back is answered")


def _is_to_stop() -> bool:
    """Whether the current task's step was asked to stop: what a person decided on it would count for nothing."""
    flight = asyncio.current_task()
    # The old branch can go once no saga is under way in which a step was stuck on a release without it.
    return bool(flight and flight.cancelling()) and workflow.patched("counteract: nobody is asked about a stopped step")

"""The saga as its workflow sees it: steps go forward through it, and leaving it early undoes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast, overload

from temporalio import workflow

from counteract.errors import Rejected, SagaIncomplete, SagaLost, SagaMisuse, StepFailed
from counteract.lifecycle import SagaCompensated, SagaCompleted, SagaStarted, SagaStuck
from counteract.messages import Command, CommandKind, Outcome, Retriable, Retry
from counteract.saga.carrying import NOTHING, Carried, CarriedStep
from counteract.saga.children import ChildCall, child_saga
from counteract.saga.chronicle import Chronicle
from counteract.saga.dispatching import Dispatcher, Options, Park, check_sendable
from counteract.saga.failing import Interruption, describe, first, incomplete, is_saga_failure, undone
from counteract.saga.ledger import Ledger, Step, Undoing
from counteract.saga.parking import Parking, Resolution, corrected, replacement
from counteract.saga.report import SagaReport, SagaStatus, report
from counteract.saga.resetting import adopt_from_earlier_runs, check_after_reset
from counteract.saga.showing import Display
from counteract.saga.stepping import Stepper
from counteract.saga.tasks import settled, to_the_end, together

A = TypeVar("A")
R = TypeVar("R")


class Saga:
    """Made by `SagaWorkflow.saga()`; an async context manager."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        deadline: timedelta | None,
        alert_after: timedelta,
        on_failure: Park | None = None,
        carried: Carried = NOTHING,
    ) -> None:
        self._deadline = deadline
        self._due = carried.due
        self._on_failure = on_failure
        self._carried = carried.begun
        self._ledger = carried.ledger()
        self._chronicle = Chronicle(dispatcher, Counter(carried.written))
        self._parking = Parking(self._chronicle)
        self._stepper = Stepper(self._ledger, dispatcher, self, alert_after)
        self._phase = SagaStatus.RUNNING
        self._cause = carried.cause
        self._interruption = Interruption(carried.interruption) if carried.interruption else None
        self._paused = carried.paused
        self._closing = False
        self._over = False
        self.position = 0
        """Once it has completed, a position of the log that all its events are at or below: for who waits for projections."""
        self._display = Display(self.report)
        self._body: asyncio.Task[Any] | None = None
        # In start order: a set's order differs from replay to replay.
        self._flights: dict[asyncio.Task[Any], None] = {}
        self._timer: asyncio.TimerHandle | None = None

    # What a workflow calls.

    async def execute(
        self,
        command: Command[R],
        *,
        attempt_timeout: timedelta | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - over all attempts, by the server
        retry: Retry | None = None,
        on_failure: Park | None = None,
    ) -> R:
        """Send one command to its service and return the answer.

        Raises `Rejected` for a refusal, which proves that nothing happened, and `StepFailed` where no answer came (the
        step may have happened, and will be undone). A retriable command raises neither: it is tried until it succeeds.
        """
        options = Options(attempt_timeout=attempt_timeout, timeout=timeout, retry=retry, on_failure=on_failure)
        (result,) = await self._run([command], options)
        return cast("R", result)

    @overload
    async def parallel(self, *commands: Command[R], tolerate_refusals: Literal[False] = False) -> list[R]: ...

    @overload
    async def parallel(self, *commands: Command[R], tolerate_refusals: Literal[True]) -> list[R | Rejected]: ...

    async def parallel(
        self, *commands: Command[R], tolerate_refusals: bool = False
    ) -> list[R] | list[R | Rejected] | list[Any]:
        """Send several commands at once; the answers come in the order of the commands.

        At the first failure the others are asked to stop, and it is raised once they have; should the saga catch it and
        go on, what they did is undone before the pivot or the end. With `tolerate_refusals` a refusal is no failure: it
        stands in the place of the answer.
        """
        if not commands:
            return []
        return await self._run(commands, Options(), tolerate_refusals=tolerate_refusals)

    async def execute_child(
        self,
        child: Callable[[Any, A], Awaitable[R]],
        request: A,
        *,
        id: str,  # noqa: A002 - as Temporal calls it
        compensation: Retriable[Any],
        task_queue: str | None = None,
        on_failure: Park | None = None,
    ) -> R:
        """Run another saga (`Booking.run`) as one step of this one, under the workflow id `id`, and return its result.

        It undoes itself where it fails, which this saga gets as `Rejected`. Once it has completed, `compensation` undoes
        it, tried until it succeeds. Cancellation reaches it like any step. Raises `StepFailed` where it ended otherwise,
        terminated for instance; its own record then says whether there is anything to undo.
        """
        call = ChildCall(child, request, task_queue)
        (result,) = await self._run([child_saga(child, id, compensation)], Options(child=call, on_failure=on_failure))
        return cast("R", result)

    async def recover(self, ledger: Ledger, *, why: str) -> None:
        """Undo a saga that nobody carries on, in its own name. Raises SagaIncomplete where its pivot took effect."""
        self._closing = True
        self._ledger.steps += ledger.steps
        for step in ledger.steps:
            if step.kind is CommandKind.PIVOT:
                await self._stepper.find_out(step)
        ending = await self._end(SagaLost(why))
        self._over = True
        if isinstance(ending, SagaIncomplete):
            raise ending

    # What the workflow's signals, query and update call.

    def report(self) -> SagaReport:
        return report(self._ledger, self.status, cause=self._cause, paused=self._paused)

    def pause(self) -> None:
        """Begin no further step. Those in flight go on; an undo is not held up."""
        self._paused = True
        self.changed()

    @property
    def status(self) -> SagaStatus:
        open_ = self._phase in (SagaStatus.RUNNING, SagaStatus.COMPENSATING)
        return SagaStatus.STUCK if open_ and self._ledger.stuck else self._phase

    @property
    def under_way(self) -> bool:
        """Neither still to be opened nor over: what comes now is the saga's concern."""
        return (self._body is not None or self._closing) and not self._over

    def resume(self) -> None:
        self._paused = False
        self.changed()

    def carry(self) -> Carried:
        """What the workflow's next run is to know. Raises SagaMisuse while a step is in flight."""
        if not self.under_way:
            return Carried(over=self._over)
        self._raise_if_interrupted()
        return Carried(
            begun=True,
            steps=tuple(map(CarriedStep.of, self._ledger.steps)),
            due=self._due,
            paused=self._paused,
            interruption=self._interruption,
            cause=self._cause,
            written=dict(self._chronicle.written),
        )

    def check(self, resolution: Resolution) -> None:
        self._parking.check(resolution)

    def resolve(self, resolution: Resolution) -> None:
        self._parking.resolve(resolution)

    def interrupt(self, why: Interruption, failure: BaseException | None = None) -> None:
        """Stop going forward. Past the pivot there is only forward, and an undo that runs is never stopped."""
        if self._closing:
            return
        self._interruption = self._interruption or why
        self._cause = self._cause or (describe(failure) if failure else why)
        self._stop_if_interrupted()

    def changed(self) -> None:
        """Show the status as a search attribute, and all steps as the workflow's current details."""
        self._display.update()

    async def stuck(self, step: Step, why: str) -> Resolution:
        return await self._parking.ask(step, why)

    # The context manager.

    async def __aenter__(self) -> Self:
        self._body = asyncio.current_task()
        if self._deadline is not None and not self._carried:
            self._due = workflow.time() + self._deadline.total_seconds()
        if self._due is not None:
            left = max(0.0, self._due - workflow.time())
            self._timer = asyncio.get_running_loop().call_later(left, self.interrupt, Interruption.DEADLINE)
        self.changed()
        if not self._carried:
            await to_the_end(self._chronicle.record(SagaStarted))
        if self._is_stopped() and self._body:
            # It was not to disturb the record, and so has yet to reach whatever the block waits for first.
            self._body.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not is_saga_failure(error):
            return  # A bug, an eviction or a new run: the workflow goes on later, here or elsewhere.
        failure = first(error) or await self._finish_forward()
        self._closing = True
        if self._timer:
            self._timer.cancel()
        ending = await to_the_end(self._end(failure))
        self._over = True
        if ending is not None:
            raise ending

    async def _finish_forward(self) -> BaseException | None:
        """Wait for steps that nobody awaited, and undo those that nobody knows about."""
        try:
            # Tasks of the saga's own code may send out further ones meanwhile.
            while self._flights or self._ledger.unknown():
                await settled(list(self._flights), cancel=False)
                await self._undo_unknown()
            self._raise_if_interrupted()
            await check_after_reset(self._ledger, self._stepper.dispatcher)
        except BaseException as failure:
            if is_saga_failure(failure):
                return failure
            raise
        return None

    async def _run(
        self, commands: Sequence[Command[Any]], options: Options, *, tolerate_refusals: bool = False
    ) -> list[Any]:
        check_sendable(commands, options)
        await self._may_go_on()
        await check_after_reset(self._ledger, self._stepper.dispatcher)
        if any(command.kind is CommandKind.PIVOT for command in commands):
            await self._clear_the_way()
        self._raise_if_stopped()
        # Armed first: a step that timed out may still have happened.
        steps = self._ledger.begin(commands)
        self._display.update(steps[0].key)
        flights = [asyncio.create_task(self._fly(step, options, tolerate_refusals)) for step in steps]
        for flight in flights:
            self._flights[flight] = None
            flight.add_done_callback(self._flights.pop)
        try:
            # Only what can be undone is asked to stop: beyond, the way is forward.
            return await settled(flights, cancel=all(step.kind is CommandKind.COMPENSATABLE for step in steps))
        except (Exception, asyncio.CancelledError):
            # Answers that nobody got cannot be relied upon, should the saga's code catch this and go on.
            self._ledger.disown(steps)
            # What was to stop the saga may have had to wait for a pivot that was then refused.
            if asyncio.current_task() is not self._body:
                self._stop_if_interrupted()
            self._raise_if_interrupted()
            raise

    async def _fly(self, step: Step, options: Options, tolerate_refusals: bool) -> Any:
        while True:
            try:
                return await self._stepper.forward(step, options)
            except (Rejected, StepFailed) as failure:
                if tolerate_refusals and isinstance(failure, Rejected):
                    return failure
                park = options.on_failure or self._on_failure
                decision = await self._parked(step, failure, park) if park else None
                if decision is None or decision.decision == "fail":
                    raise
                if decision.decision == "skip":
                    return replacement(step, decision)
            await self._again(step, decision)

    async def _parked(self, step: Step, failure: Exception, park: Park) -> Resolution | None:
        """What a person decides about a step that failed; None if nobody does before the saga is to stop."""
        step.parked = step.stuck = True
        self._display.update(step.key)
        try:
            return await self._parking.ask(step, describe(failure), timeout=park.timeout, moot=self._is_stopped)
        except TimeoutError:
            return None
        finally:
            step.parked = step.stuck = False
            self.changed()

    async def _again(self, step: Step, decision: Resolution) -> None:
        """Arm a failed step anew, as a new command. What the old one did, or may do yet, is undone first."""
        if step.kind is CommandKind.PIVOT:
            await workflow.wait_condition(lambda: not self._ledger.in_flight)
            await self._clear_the_way()
        elif step.outcome is Outcome.UNKNOWN:
            await to_the_end(self._stepper.undo(step))
        if (flight := asyncio.current_task()) and flight.cancelling():
            raise asyncio.CancelledError
        self._raise_if_stopped()
        await self._may_go_on()
        self._ledger.again(step, corrected(step, decision))

    async def _may_go_on(self) -> None:
        if self._closing:
            raise SagaMisuse("this saga is over: a step can only begin inside its `async with`")
        if self._paused:
            await workflow.wait_condition(lambda: not self._paused)
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        """After waiting: meanwhile the saga's code may have failed elsewhere, and no step may begin any more."""
        if self._is_stopped():
            raise asyncio.CancelledError

    def _is_stopped(self) -> bool:
        return self._closing or (self._interruption is not None and self._ledger.pivot is None)

    def _stop_if_interrupted(self) -> None:
        """Reach the body, whatever it waits for."""
        if self._body and not self._closing and self._is_stopped():
            self._body.cancel()

    def _raise_if_interrupted(self) -> None:
        if self._interruption and self._ledger.pivot is None:
            raise asyncio.CancelledError

    # The three ways it ends.

    async def _end(self, failure: BaseException | None) -> BaseException | None:
        """What the workflow is to raise."""
        if failure is None:
            await self._complete()
            return None
        if self._ledger.pivot is not None:
            # It may be in flight yet, and only what becomes of it says which way to go.
            await self._settle_flights(cancel=False)
        if pivot := await adopt_from_earlier_runs(self._ledger, self._stepper.dispatcher):
            await self._stepper.find_out(pivot)
        if self._ledger.past_pivot:
            return await self._incomplete(failure)
        return await self._compensate(failure)

    async def _complete(self) -> None:
        self._phase = SagaStatus.COMPLETED
        steps = tuple(step.key for step in self._ledger.steps)
        self.position = await self._chronicle.record(SagaCompleted, steps=steps)
        self.changed()

    async def _incomplete(self, failure: BaseException) -> BaseException:
        self._phase, self._cause = SagaStatus.STUCK, describe(failure)
        last = self._ledger.steps[-1].key
        await self._chronicle.record(SagaStuck, step=last, why=self._cause)
        self._display.update(last)
        return incomplete(failure)

    async def _compensate(self, failure: BaseException) -> BaseException:
        self._phase, self._cause = SagaStatus.COMPENSATING, self._cause or describe(failure)
        self.changed()
        await self._settle_flights(cancel=True)
        for group in self._ledger.undo_plan():
            self._display.update(group[0].key)
            await together([self._stepper.undo(step) for step in group])
        self._phase = SagaStatus.COMPENSATED
        await self._chronicle.record(
            SagaCompensated,
            cause=self._cause,
            undone=self._ledger.keys(Undoing.UNDONE),
            skipped=self._ledger.keys(Undoing.SKIPPED),
        )
        self.changed()
        return undone(self._interruption, failure, self.report())

    async def _settle_flights(self, *, cancel: bool) -> None:
        """What became of steps that the saga's own tasks still have in flight must be known before it ends."""
        for flight in self._flights if cancel else ():
            flight.cancel()
        while self._flights:
            await workflow.wait(list(self._flights))

    async def _undo_unknown(self) -> None:
        """The saga's code went on without these steps, and they may have happened: they must not be left behind."""
        while groups := self._ledger.unknown():
            await together([self._stepper.undo(step) for step in groups[0]])

    async def _clear_the_way(self) -> None:
        """Before the pivot: nothing is left to undo behind it, and nobody has paused the saga meanwhile."""
        while self._ledger.unknown():
            await self._undo_unknown()
            await self._may_go_on()

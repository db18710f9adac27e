"""The saga as its workflow sees it: steps go forward through it, and leaving it early undoes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from temporalio import workflow

from counteract.errors import Rejected, SagaIncomplete, SagaLost, SagaMisuse, SagaReset, SagaTurnedBack
from counteract.lifecycle import Claimed
from counteract.messages import Command, CommandKind, Retriable, Retry, Role
from counteract.saga.calls import Calls
from counteract.saga.children import ChildCall, child_saga
from counteract.saga.continue_as_new import (
    NOTHING,
    Carried,
    CarriedMore,
    CarriedRecord,
    CarriedStep,
    Earlier,
    parent_of_this,
)
from counteract.saga.course import Course
from counteract.saga.dispatcher import Dispatcher, Options, Park
from counteract.saga.display import Display
from counteract.saga.end import Endings
from counteract.saga.failure import Interruption, describe, first, is_saga_failure
from counteract.saga.flights import Flights
from counteract.saga.interruptions import Interruptions
from counteract.saga.lifecycle import Chronicle
from counteract.saga.record import Record
from counteract.saga.report import SagaReport, SagaStatus
from counteract.saga.reset import check_after_reset
from counteract.saga.resolution import Parking, Resolution
from counteract.saga.stepper import Stepper
from counteract.saga.tasks import AT_ONCE, to_the_end

MOST_AT_ONCE = 1500
"""Below the server's limit of 2000 pending activities, with room for undos and the saga's own."""

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
        earlier: Earlier = NOTHING,
    ) -> None:
        carried = earlier.carried
        self._deadline = deadline
        self._due = carried.due
        self._earlier = earlier
        self._ledger = earlier.ledger()
        self._course = Course(
            cause=carried.cause,
            interruption=Interruption(carried.interruption) if carried.interruption else None,
            handler_failure=earlier.handler_failure(),
            paused=carried.paused,
        )
        self._display = Display(self._course, self._ledger)
        self._chronicle = Chronicle(dispatcher, Counter(carried.written))
        self._record = Record.after(earlier, dispatcher, self._chronicle, self._ledger, parent_of_this())
        self._parking = Parking(self._chronicle)
        self._stepper = Stepper(self._ledger, self._record, self._parking, self._display, alert_after)
        self._flights = Flights(
            self._course, self._ledger, self._record, self._stepper, self._parking, self._display, on_failure
        )
        self._endings = Endings(
            self._course, self._ledger, self._record, self._chronicle, self._stepper, self._display, self._flights
        )
        self._interruptions = Interruptions(self._course, self._ledger, self._record, self._flights)
        self._calls = Calls()
        self._timer: asyncio.TimerHandle | None = None

    # What a workflow calls.

    def execute(
        self,
        command: Command[R],
        *,
        attempt_timeout: timedelta | None = None,
        timeout: timedelta | None = None,
        retry: Retry | None = None,
        on_failure: Park | None = None,
    ) -> Coroutine[Any, Any, R]:
        """Send one command to its service and return the answer.

        Raises `Rejected` for a refusal, which proves that nothing happened, and `StepFailed` where no answer came (the
        step may have happened, and will be undone). A retriable command raises neither: it is tried until it succeeds.
        """
        options = Options(attempt_timeout=attempt_timeout, timeout=timeout, retry=retry, on_failure=on_failure)
        return self._calls.noted(self._run_one(command, options))

    @overload
    def parallel(
        self, *commands: Command[R], tolerate_refusals: Literal[False] = False, at_once: int = AT_ONCE
    ) -> Coroutine[Any, Any, list[R]]: ...

    @overload
    def parallel(
        self, *commands: Command[R], tolerate_refusals: Literal[True], at_once: int = AT_ONCE
    ) -> Coroutine[Any, Any, list[R | Rejected]]: ...

    def parallel(
        self, *commands: Command[Any], tolerate_refusals: bool = False, at_once: int = AT_ONCE
    ) -> Coroutine[Any, Any, list[Any]]:
        """Send several commands at once; the answers come in the order of the commands.

        At the first failure the others are asked to stop, and it is raised once they have; should the saga catch it and
        go on, what they did is undone before the pivot or the end. With `tolerate_refusals` a refusal is no failure: it
        stands in the place of the answer. `at_once` of them are in flight at the most: a workflow of Temporal's may have
        no more than 2000 activities pending.
        """
        if not 1 <= at_once <= MOST_AT_ONCE:
            raise SagaMisuse(f"at_once={at_once}: a saga can have 1 to {MOST_AT_ONCE} steps in flight")
        options = Options(tolerates_refusals=tolerate_refusals, at_once=at_once)
        return self._calls.noted(self._flights.run(commands, options))

    def execute_child(
        self,
        child: Callable[[Any, A], Awaitable[R]],
        request: A,
        *,
        id: str,  # noqa: A002 - as Temporal calls it
        compensation: Retriable[Any],
        task_queue: str | None = None,
        on_failure: Park | None = None,
    ) -> Coroutine[Any, Any, R]:
        """Run another saga (`Booking.run`) as one step of this one, under the workflow id `id`, and return its result.

        It undoes itself where it fails, which this saga gets as `Rejected`. Once it has completed, `compensation` undoes
        it, tried until it succeeds. Cancellation reaches it like any step. Raises `StepFailed` where it ended otherwise,
        terminated for instance; its own record then says whether there is anything to undo.
        """
        call = ChildCall(child, request, task_queue)
        options = Options(child=call, on_failure=on_failure)
        return self._calls.noted(self._run_one(child_saga(child, id, compensation), options))

    @property
    def should_continue_as_new(self) -> bool:
        """The workflow's history has grown long: between two steps, `workflow.continue_as_new(...)` has the saga go on in a new one."""
        return workflow.info().is_continue_as_new_suggested()

    async def find_out(self, pivots: Sequence[tuple[str, Command[Any]]]) -> None:
        """For recovery: what became of pivots that the saga's history sent, and that the store has no row of."""
        for key, command in pivots:
            await self._stepper.find_out(self._ledger.adopt(key, command))

    async def recover(
        self,
        claimed: Claimed,
        *,
        why: str,
        claim: Callable[[], Awaitable[Claimed | None]],
        is_carried_on: Callable[[], Awaitable[bool]],
        forgotten: Callable[[], Awaitable[Sequence[tuple[str, Command[Any]]]]],
    ) -> None:
        """Undo a saga that nobody carries on, in its own name; do nothing where somebody does. Raises SagaIncomplete where its pivot took effect.

        At the pivot it cannot be claimed: what became of that is found out first, and then it is claimed again.
        `forgotten` are steps that its history sent, and that the store has no row of: no proof that nothing happened.
        """
        self._course.is_closing = True
        await self._record.take_over(claimed.epoch, claimed.state)
        self._record.own(self._ledger.steps)
        if claimed.state != "turning back":
            for pivot in await self._record.adopt(pivot=True):
                await self._stepper.find_out(pivot)
            claimed = await claim() or claimed
            await self._record.take_over(claimed.epoch, claimed.state)
            self._record.own(self._ledger.steps)
            # It took its time. The old branch can go once no recovery is open that a release without it has begun.
            if workflow.patched("counteract: recovery asks again whether somebody goes on") and await is_carried_on():
                self._course.is_closing = False
                return
        while not self._ledger.past_pivot and (steps := await forgotten()):
            for step in [self._ledger.adopt(key, command) for key, command in steps]:
                await self._stepper.undo(step, Role.TURN)
        await self._recovered(why)

    async def recover_unrecorded(self, commands: Sequence[tuple[str, Command[Any]]], *, why: str) -> None:
        """The same, by a recovery that the release before began."""
        self._course.is_closing = True
        for step in [self._ledger.adopt(key, command) for key, command in commands]:
            if step.kind is CommandKind.PIVOT:
                await self._stepper.find_out(step)
        await self._recovered(why)

    async def _recovered(self, why: str) -> None:
        ending = await self._endings.end(SagaLost(why))
        self._course.is_over = True
        if isinstance(ending, SagaIncomplete):
            raise ending

    # What the workflow's signals, query and update call.

    def report(self) -> SagaReport:
        """How far the saga is, step by step: what the query `report` answers."""
        return self._display.report()

    def pause(self) -> None:
        """Begin no further step. Those in flight go on; an undo is not held up."""
        self._course.paused = True
        self._display.update()

    @property
    def details(self) -> str:
        """The report as a table, for the Web UI."""
        return self._display.details

    @property
    def status(self) -> SagaStatus:
        """Where the saga stands; `STUCK` while a step of it waits for a person."""
        return self._display.status

    @property
    def under_way(self) -> bool:
        """Neither still to be opened nor over: what comes now is the saga's concern."""
        return self.has_been_opened and not self._course.is_over

    @property
    def has_been_opened(self) -> bool:
        """By this run."""
        return self._flights.body is not None or self._course.is_closing

    @property
    def _is_handed_on(self) -> bool:
        """An earlier run began it, and this one comes to its end without having opened it."""
        return self._earlier.carried.begun and not self.has_been_opened

    @property
    def stands(self) -> bool:
        """It has completed, on record: whatever its workflow does yet, nothing of it is undone."""
        return self._course.is_over and self._course.is_completed and self._record.is_kept

    @property
    def course(self) -> Course:
        """For the engine: which way the saga goes, and why it turned."""
        return self._course

    @property
    def position(self) -> int:
        """Once it has completed, a position of the log that all its events are at or below: for who waits for projections."""
        return self._endings.position

    def resume(self) -> None:
        """Begin steps again, after `pause`."""
        self._course.paused = False
        self._display.update()

    def carry(self) -> tuple[Carried, CarriedRecord | None]:
        """What the workflow's next run is to know. Raises SagaMisuse while a step is in flight."""
        if not (self.under_way or self._is_handed_on):
            return Carried(over=self._course.is_over), None
        self._interruptions.take_effect()
        self._flights.raise_if_interrupted()
        carried = Carried(
            begun=True,
            steps=tuple(map(CarriedStep.of, self._ledger.steps)),
            due=self._due,
            paused=self._course.paused,
            interruption=self._course.interruption,
            cause=self._course.cause,
            written=dict(self._chronicle.written),
        )
        record = self._record.carried(tuple(map(CarriedMore.of, self._ledger.steps)))
        if record is not None and (failure := self._course.handler_failure) is not None:
            record = record.model_copy(update={"handler_failure": describe(failure)})
        return carried, record

    def check(self, resolution: Resolution) -> None:
        """Refuse a decision that makes no sense, such as one about a step that does not wait. Raises ApplicationError."""
        self._parking.check(resolution)

    def resolve(self, resolution: Resolution) -> None:
        """Go on as a person decided about a step that waits."""
        self._parking.resolve(resolution)

    def interrupt(self, why: Interruption, failure: BaseException | None = None) -> None:
        """Turn the saga back for a reason from outside its code. Past its pivot it goes on instead."""
        self._interruptions.interrupt(why, failure)

    # The context manager.

    async def __aenter__(self) -> Self:
        if self._flights.body is not None:
            raise SagaMisuse("the saga is opened a second time: put all its steps into one `async with`")
        self._flights.body = asyncio.current_task()
        if self._deadline is not None and not self._earlier.carried.begun:
            self._due = workflow.time() + self._deadline.total_seconds()
        if self._due is not None:
            left = max(0.0, self._due - workflow.time())
            self._timer = asyncio.get_running_loop().call_later(left, self.interrupt, Interruption.DEADLINE)
        self._display.update()
        try:
            await to_the_end(self._open())
            self._course.is_open = True
            self._interruptions.opened()
        except (SagaTurnedBack, SagaReset) as failure:
            # It was decided before this run began: there is nothing that its code could do.
            await self._close(failure)
        if self._flights.is_stopped() and self._flights.body:
            # It was not to disturb the record, and so has yet to reach whatever the block waits for first.
            self._flights.body.cancel()
        return self

    async def _open(self) -> None:
        carried = self._earlier.carried.begun
        if not carried or workflow.info().attempt > 1:
            await self._record.open()
            if carried and not self._record.is_kept:
                # The release before began a retry from nothing.
                self._ledger.forget()
        elif not self._record.is_kept:
            await self._record.carried_over()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not is_saga_failure(error):
            return  # A bug, an eviction or a new run: the workflow goes on later, here or elsewhere.
        if error is None:
            error = await self._calls.refuse_unawaited()
        await self._close(first(error) or await self._finish_forward())

    async def _close(self, failure: BaseException | None) -> None:
        self._course.is_closing = True
        if self._timer:
            self._timer.cancel()
        ending = await to_the_end(self._endings.end(failure))
        self._course.is_over = True
        if ending is not None:
            raise ending

    async def _finish_forward(self) -> BaseException | None:
        """Wait for steps that nobody awaited, and undo those that nobody knows about."""
        try:
            # Tasks of the saga's own code may send out further ones meanwhile.
            await self._interruptions.none_left()
            if not await self._record.refresh("its end"):
                await check_after_reset(self._ledger, self._record.dispatcher)
            await self._flights.leave_nothing_behind()
            while self._course.pending or self._flights.are_out():
                # That took its time, and the saga has not ended yet.
                await self._interruptions.none_left()
            self._flights.raise_failure()
        except BaseException as failure:
            if is_saga_failure(failure):
                return failure
            raise
        return self._course.handler_failure

    async def _run_one(self, command: Command[Any], options: Options) -> Any:
        (result,) = await self._flights.run([command], options)
        return result

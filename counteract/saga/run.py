"""A saga in one run of its workflow: opened with its record, and led to its end or handed on to the next run.

The author of a saga sees `Saga` of all this (`saga.py`); the workflow, the interceptor and recovery use what is here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from temporalio import workflow

from counteract.errors import SagaMisuse, SagaReset, SagaTurnedBack
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
from counteract.saga.dispatcher import Dispatcher, Park
from counteract.saga.display import Display
from counteract.saga.end import Endings
from counteract.saga.failure import Interruption, describe, first, is_saga_failure
from counteract.saga.flights import Flights
from counteract.saga.interruptions import Interruptions
from counteract.saga.lifecycle import Chronicle
from counteract.saga.record import Record
from counteract.saga.reset import check_after_reset
from counteract.saga.resolution import Parking
from counteract.saga.stepper import Stepper
from counteract.saga.tasks import to_the_end


class SagaRun:
    """One saga in one run of its workflow: its parts, and the moves from its opening to its end."""

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
        self.ledger = earlier.ledger()
        self.course = Course(
            cause=carried.cause,
            interruption=Interruption(carried.interruption) if carried.interruption else None,
            handler_failure=earlier.handler_failure(),
            paused=carried.paused,
        )
        self.display = Display(self.course, self.ledger)
        self._chronicle = Chronicle(dispatcher, Counter(carried.written))
        self.record = Record.after(earlier, dispatcher, self._chronicle, self.ledger, parent_of_this())
        self.parking = Parking(self._chronicle)
        self.stepper = Stepper(self.ledger, self.record, self.parking, self.display, alert_after)
        self.flights = Flights(
            self.course, self.ledger, self.record, self.stepper, self.parking, self.display, on_failure
        )
        self.endings = Endings(
            self.course, self.ledger, self.record, self._chronicle, self.stepper, self.display, self.flights
        )
        self._interruptions = Interruptions(self.course, self.ledger, self.record, self.flights)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def under_way(self) -> bool:
        """Whether the saga has been opened and is not over: what comes now is its concern."""
        return self.has_been_opened and not self.course.is_over

    @property
    def has_been_opened(self) -> bool:
        """Whether this run has opened the saga, or undoes it as a recovery."""
        return self.flights.body is not None or self.course.is_closing

    @property
    def _is_handed_on(self) -> bool:
        """Whether an earlier run began the saga, and this one comes to its end without having opened it."""
        return self._earlier.carried.begun and not self.has_been_opened

    @property
    def stands(self) -> bool:
        """Whether the saga has completed, on record: whatever its workflow does yet, nothing of it is undone."""
        return self.course.is_over and self.course.is_completed and self.record.is_kept

    def pause(self) -> None:
        """Begin no further step. Those in flight go on; an undo is not held up."""
        self.course.paused = True
        self.display.update()

    def resume(self) -> None:
        """Begin steps again, after `pause`."""
        self.course.paused = False
        self.display.update()

    def interrupt(self, why: Interruption, failure: BaseException | None = None) -> None:
        """Turn the saga back for a reason from outside its code. Past its pivot it goes on instead."""
        self._interruptions.interrupt(why, failure)

    async def open(self) -> None:
        """Take up the saga's record, in the task of the code that is its body, and start the clock of its deadline.

        Raises what the workflow is to end with, where the record says that there is nothing left to do. Raises
        SagaMisuse for a saga that is open already.
        """
        if self.flights.body is not None:
            raise SagaMisuse("the saga is opened a second time: put all its steps into one `async with`")
        self.flights.body = asyncio.current_task()
        self._start_clock()
        self.display.update()
        try:
            await to_the_end(self._take_up())
            self.course.is_open = True
            self._interruptions.opened()
        except (SagaTurnedBack, SagaReset) as failure:
            # It was decided before this run began: there is nothing that its code could do.
            await self._close(failure)
        if self.flights.is_stopped() and self.flights.body:
            # It was not to disturb the record, and so has yet to reach whatever the block waits for first.
            self.flights.body.cancel()

    async def close(self, failure: BaseException | None) -> None:
        """Lead the saga to its end: forward, unless its code failed, or a step that nobody waits for does.

        Raises what the workflow is to end with; nothing where the saga has completed.
        """
        await self._close(first(failure) or await self._finish_forward())

    def carry(self) -> tuple[Carried, CarriedRecord | None]:
        """Everything that the workflow's next run is to know. Raises SagaMisuse while a step is in flight."""
        if not (self.under_way or self._is_handed_on):
            return Carried(over=self.course.is_over), None
        self._interruptions.take_effect()
        self.flights.raise_if_interrupted()
        carried = Carried(
            begun=True,
            steps=tuple(map(CarriedStep.of, self.ledger.steps)),
            due=self._due,
            paused=self.course.paused,
            interruption=self.course.interruption,
            cause=self.course.cause,
            written=dict(self._chronicle.written),
        )
        record = self.record.carried(tuple(map(CarriedMore.of, self.ledger.steps)))
        if record is not None and (failure := self.course.handler_failure) is not None:
            record = record.model_copy(update={"handler_failure": describe(failure)})
        return carried, record

    def _start_clock(self) -> None:
        if self._deadline is not None and not self._earlier.carried.begun:
            self._due = workflow.time() + self._deadline.total_seconds()
        if self._due is not None:
            left = max(0.0, self._due - workflow.time())
            self._timer = asyncio.get_running_loop().call_later(left, self.interrupt, Interruption.DEADLINE)

    async def _take_up(self) -> None:
        carried = self._earlier.carried.begun
        if not carried or workflow.info().attempt > 1:
            await self.record.open()
            if carried and not self.record.is_kept:
                # The release before began a retry from nothing.
                self.ledger.forget()
        elif not self.record.is_kept:
            await self.record.carried_over()

    async def _close(self, failure: BaseException | None) -> None:
        self.course.is_closing = True
        if self._timer:
            self._timer.cancel()
        ending = await to_the_end(self.endings.end(failure))
        self.course.is_over = True
        if ending is not None:
            raise ending

    async def _finish_forward(self) -> BaseException | None:
        """Wait for steps that nobody awaited, and undo those that nobody knows about.

        Returns the failure for which the saga is not to complete, if there is one.
        """
        try:
            # Tasks of the saga's own code may send out further ones meanwhile.
            await self._interruptions.none_left()
            if not await self.record.refresh("its end"):
                await check_after_reset(self.ledger, self.record.dispatcher)
            await self.flights.leave_nothing_behind()
            while self.course.pending or self.flights.are_out():
                # That took its time, and the saga has not ended yet.
                await self._interruptions.none_left()
            self.flights.raise_failure()
        except BaseException as failure:
            if is_saga_failure(failure):
                return failure
            raise
        return self.course.handler_failure

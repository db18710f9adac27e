"""Interruptions, which stop a saga that has not come to its end: a cancellation, its deadline, a failed handler.

A run can forget its own end: the end is put on record, and then the workflow task in which that happened is lost,
because a cancellation came in before the server took the task. The code is run again, with the cancellation in its way
this time. So the record is asked before anything is stopped, and of a saga that has completed nothing is; nor of one
whose pivot has taken effect, which a run that a reset has begun may come by only later.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.exceptions import ActivityError

from counteract.saga.course import Course
from counteract.saga.failure import Interruption, describe
from counteract.saga.flights import Flights
from counteract.saga.ledger import Ledger
from counteract.saga.record import Record
from counteract.saga.tasks import in_a_task_of_its_own

_ASKED = "counteract: the record is asked before an interruption"
_IN_ITS_OWN_TASK = "counteract: an interruption has a task of its own"


@dataclass(slots=True)
class Interruptions:
    """Decides of each interruption of one saga whether it comes in time."""

    course: Course
    ledger: Ledger
    record: Record
    flights: Flights
    _asked: int = 0
    _asking: set[asyncio.Task[None]] = field(default_factory=set)

    def interrupt(self, why: Interruption, failure: BaseException | None = None) -> None:
        """Stop the saga before its pivot. Past it there is only forward, and an undo that runs is never stopped."""
        if self.course.is_closing:
            return
        if not self._may_be_over():
            self._stop(why, failure)
            return
        self._asked += 1
        self.course.pending.append((why, failure))
        # Said now, for it must be known by the time that the answer comes. The old branch can go as above.
        apart = workflow.patched(_IN_ITS_OWN_TASK)
        task = asyncio.create_task(self._stop_unless_over(why, failure, self._asked, apart=apart))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def opened(self) -> None:
        """Drop what came before the record was known, if that says that the saga has completed, or passed its pivot."""
        if self.course.interruption and self._is_too_late_at_once():
            self._too_late(self.course.interruption, self.record.state, self.course.handler_failure)
            self.course.interruption = self.course.cause = None

    async def none_left(self) -> None:
        """Return once nothing is in flight any more, and no interruption has yet to be decided.

        Raises CancelledError where one stops the saga.
        """
        await self.flights.landed()
        while self.course.pending:
            await self.flights.decided()
            await self.flights.landed()
        self.flights.raise_if_interrupted()

    def take_effect(self) -> None:
        """Stop the saga for those that are not decided yet: its next run is told."""
        for why, failure in self.course.pending:
            self._stop(why, failure)

    def _may_be_over(self) -> bool:
        is_forward = self.course.is_open and self.record.is_kept and self.ledger.pivot is None
        # The old branch can go once no saga is under way that was interrupted on a release without it.
        return is_forward and workflow.patched(_ASKED)

    async def _stop_unless_over(
        self, why: Interruption, failure: BaseException | None, number: int, *, apart: bool
    ) -> None:
        try:
            state = await self.record.lookups.state(f"before interruption {number}")
        except ActivityError:
            state = None
        if apart:
            await in_a_task_of_its_own()
        self.course.pending.remove((why, failure))
        if state == "completed" or (apart and state == "past the pivot"):
            self._too_late(why, state, failure)
        elif not self.course.is_closing:
            self._stop(why, failure)

    def _is_too_late_at_once(self) -> bool:
        if self.record.state == "past the pivot":
            return workflow.patched(_IN_ITS_OWN_TASK)
        return self.record.state == "completed" and workflow.patched(_ASKED)

    def _too_late(self, why: Interruption, state: str, failure: BaseException | None) -> None:
        """Go on as if this run had passed the pivot itself: a handler's failure is reported in the end."""
        workflow.logger.warning("the saga was %s when it was to be stopped (%s): it goes on to its end", state, why)
        self.course.handler_failure = None if state == "completed" else self.course.handler_failure or failure

    def _stop(self, why: Interruption, failure: BaseException | None) -> None:
        self.course.handler_failure = self.course.handler_failure or failure
        self.course.stop(why, describe(failure) if failure else why)
        self.flights.stop_if_interrupted()

"""The ways a saga ends, each of which its record has to agree to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from counteract.errors import RecordSaysOtherwise, SagaContradicted, SagaTurnedBack
from counteract.lifecycle import Ended, SagaCompensated, SagaCompleted, SagaStuck
from counteract.messages import CommandKind, Outcome, Role
from counteract.saga.course import Course
from counteract.saga.display import Display
from counteract.saga.failure import completed_before, describe, incomplete, undone
from counteract.saga.flights import Flights
from counteract.saga.ledger import Ledger, Step, Undoing
from counteract.saga.lifecycle import Chronicle
from counteract.saga.record import Record
from counteract.saga.report import SagaStatus
from counteract.saga.reset import adopt_from_earlier_runs
from counteract.saga.sizes import at_once
from counteract.saga.stepper import Stepper
from counteract.saga.tasks import AT_ONCE, at_most

_LOOKS = 3
"""The number of times that the store may say otherwise of an undone saga before a person has to look."""


@dataclass(slots=True)
class Endings:
    """Leads one saga to its end."""

    course: Course
    ledger: Ledger
    record: Record
    chronicle: Chronicle
    stepper: Stepper
    display: Display
    flights: Flights
    position: int = 0
    """A position of the log that all events of the saga are at or below, once it has completed."""

    async def end(self, failure: BaseException | None) -> BaseException | None:
        """End the saga, which failed with `failure` unless that is None, in the first way that its record agrees to.

        Returns what the workflow is to raise; None where the saga has completed.
        """
        if failure is None:
            failure = await self._complete()
            if failure is None:
                return None
        if self.ledger.pivot is not None:
            # It may be in flight yet, and only what becomes of it says which way to go.
            await self.flights.settle(cancel=False)
        if (lost := self.ledger.pivot) is not None and lost.outcome is Outcome.UNKNOWN:
            # The store has no answer of it any more: the provider says whether it happened.
            lost.outcome = None
            await self.stepper.find_out(lost)
        for pivot in await self._others_pivots():
            await self.stepper.find_out(pivot)
        if self.ledger.past_pivot:
            return await self._incomplete(failure)
        return await self.compensate(failure)

    async def _complete(self) -> BaseException | None:
        """Have the saga complete. Returns what stands in the way, nothing being recorded; None once it has."""
        steps = tuple(step.key for step in self.ledger.steps if step.stands)
        self.course.phase = SagaStatus.COMPLETED
        ended = await self.chronicle.end(SagaCompleted, self.record.ending("completed", None), steps=steps)
        refusal = self._refusal(ended, "completed")
        if refusal is None:
            self.position = ended.position if isinstance(ended, Ended) else ended
            self.display.update()
        else:
            self.course.phase = SagaStatus.RUNNING
        return refusal

    async def _incomplete(self, failure: BaseException, otherwise: BaseException | None = None) -> BaseException:
        """Leave the saga stuck: past its pivot there is only forward, and its own code does not go there.

        Or the store does not agree to an undo, for the reason `otherwise`.
        """
        why = otherwise or failure
        self.course.phase, self.course.cause = SagaStatus.STUCK, describe(why)
        last = self.ledger.steps[-1].key if self.ledger.steps else ""
        if await self.chronicle.record(SagaStuck, step=last, why=self.course.cause) == "completed":
            return self._completed_before(failure)
        self.display.update(last)
        return incomplete(why, is_past_pivot=self.ledger.past_pivot or self.record.is_past_pivot)

    def _completed_before(self, failure: BaseException) -> BaseException:
        """Let the end stand that is on record, of a run that forgot it with the workflow task in which it came to it.

        Its code has been run again, and what came in meanwhile leads it another way.
        """
        self.course.phase, self.course.cause = SagaStatus.COMPLETED, None
        self.display.update()
        return completed_before(failure)

    async def compensate(self, failure: BaseException) -> BaseException:
        """Undo everything, until the store agrees that nothing is left. Returns what the workflow is to raise."""
        self.course.phase, self.course.cause = SagaStatus.COMPENSATING, self.course.cause or describe(failure)
        self.display.update()
        await self.flights.settle(cancel=True)
        refusal: BaseException | None = None
        for _ in range(_LOOKS):
            try:
                await self._undo_all()
            except RecordSaysOtherwise as otherwise:
                return await self._incomplete(failure, otherwise)
            self.course.phase = SagaStatus.COMPENSATED
            ended = await self.chronicle.end(
                SagaCompensated,
                self.record.ending("compensated", self.course.cause),
                cause=self.course.cause,
                undone=self.record.concluded(given_up=False),
                skipped=self.record.concluded(given_up=True),
            )
            refusal = self._refusal(ended, "compensated")
            if refusal is None:
                self.display.update()
                return undone(self.course.interruption, failure, self.display.report())
            if not isinstance(refusal, SagaContradicted):
                break
            self.course.phase = SagaStatus.COMPENSATING
            await self.record.look_again()
            await self.record.adopt(pivot=False)
        return await self._incomplete(failure, refusal)

    async def _others_pivots(self) -> list[Step]:
        """Take over what other runs of the saga left behind, and return the pivots among it."""
        # Its answer is no matter: a run that a reset had begun did not look here, and one that resets it replays that.
        await self.record.refreshed("its undo")
        if self.record.is_kept:
            return await self.record.adopt(pivot=True)
        return await adopt_from_earlier_runs(self.ledger, self.record.dispatcher)

    async def _undo_all(self) -> None:
        for group in self.ledger.undo_plan():
            self.display.update(group[0].key)
            most = at_once([step.command for step in group], AT_ONCE)
            await at_most(most, [partial(self.stepper.undo, step, Role.TURN) for step in group])

    def _refusal(self, ended: Ended | int, wanted: str) -> BaseException | None:
        if not isinstance(ended, Ended) or (ended.state == wanted and not ended.contradicted):
            return None
        self.record.state = ended.state
        if not ended.contradicted:
            return SagaTurnedBack(f"the saga's record says that it is {ended.state}")
        for step in self.ledger.steps:
            if step.dispatch_key in ended.contradicted and _is_believed(step):
                step.outcome = Outcome.UNKNOWN
                step.undoing = Undoing.NOT_BEGUN
        return SagaContradicted(ended.contradicted)


def _is_believed(step: Step) -> bool:
    """Whether the saga believes to know what became of the step: where the store says otherwise, nobody knows."""
    never = step.outcome is Outcome.NOT_APPLIED and step.kind is CommandKind.COMPENSATABLE and not step.skipped
    return step.outcome is Outcome.APPLIED or never

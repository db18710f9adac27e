"""The ways a saga ends, each of which its record has to agree to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from counteract.errors import RecordSaysOtherwise, SagaContradicted, SagaTurnedBack
from counteract.lifecycle import Ended, SagaCompensated, SagaCompleted, SagaStuck
from counteract.messages import CommandKind, Outcome, Role
from counteract.saga.course import Course
from counteract.saga.failure import completed_before, describe, incomplete, undone
from counteract.saga.ledger import Ledger, Step, Undoing
from counteract.saga.lifecycle import Chronicle
from counteract.saga.record import Record
from counteract.saga.report import Display, SagaReport, SagaStatus
from counteract.saga.sizes import at_once
from counteract.saga.stepper import Stepper
from counteract.saga.tasks import AT_ONCE, at_most

_LOOKS = 3
"""How often the store may say otherwise of an undone saga before a person has to look."""


@dataclass(slots=True)
class Endings:
    """Ends one saga."""

    course: Course
    ledger: Ledger
    record: Record
    chronicle: Chronicle
    stepper: Stepper
    display: Display
    report: Callable[[], SagaReport]
    position: int = 0
    """Of the log, once it has completed."""

    async def complete(self) -> BaseException | None:
        """None once it has completed; else what stands in the way of it, nothing being recorded."""
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

    async def incomplete(self, failure: BaseException, otherwise: BaseException | None = None) -> BaseException:
        """Past the pivot there is only forward, and its own code does not go there; or the store does not agree to an undo, and
        says otherwise.
        """
        why = otherwise or failure
        self.course.phase, self.course.cause = SagaStatus.STUCK, describe(why)
        last = self.ledger.steps[-1].key if self.ledger.steps else ""
        if await self.chronicle.record(SagaStuck, step=last, why=self.course.cause) == "completed":
            return self._completed_before(failure)
        self.display.update(last)
        return incomplete(why, is_past_pivot=self.ledger.past_pivot or self.record.is_past_pivot)

    def _completed_before(self, failure: BaseException) -> BaseException:
        """The run had come to its end, and forgot it with the workflow task in which it did: the code has been run again, and
        what came in meanwhile leads it another way."""
        self.course.phase, self.course.cause = SagaStatus.COMPLETED, None
        self.display.update()
        return completed_before(failure)

    async def compensate(self, failure: BaseException, settle_flights: Callable[[], Awaitable[None]]) -> BaseException:
        """Undo everything, until the store agrees that nothing is left."""
        self.course.phase, self.course.cause = SagaStatus.COMPENSATING, self.course.cause or describe(failure)
        self.display.update()
        await settle_flights()
        refusal: BaseException | None = None
        for _ in range(_LOOKS):
            try:
                await self._undo_all()
            except RecordSaysOtherwise as otherwise:
                return await self.incomplete(failure, otherwise)
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
                return undone(self.course.interruption, failure, self.report())
            if not isinstance(refusal, SagaContradicted):
                break
            self.course.phase = SagaStatus.COMPENSATING
            await self.record.look_again()
            await self.record.adopt(pivot=False)
        return await self.incomplete(failure, refusal)

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
    """To have taken effect, or not to have: where the store says otherwise, nobody knows."""
    never = step.outcome is Outcome.NOT_APPLIED and step.kind is CommandKind.COMPENSATABLE and not step.skipped
    return step.outcome is Outcome.APPLIED or never

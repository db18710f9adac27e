"""One step at a time: forward until its outcome is known, or undone until it is undone."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityHandle

from counteract.errors import RecordSaysOtherwise, Rejected, StepFailed
from counteract.messages import CommandKind, Outcome, Role
from counteract.saga.answers import (
    Settled,
    answer_of,
    completion_of,
    failure_of,
    is_final,
    says_otherwise,
    settlement_of,
)
from counteract.saga.children import ChildSaga, run_child
from counteract.saga.dispatcher import Dispatcher, Options
from counteract.saga.display import Display
from counteract.saga.failure import describe
from counteract.saga.ledger import Ledger, Step, Undoing
from counteract.saga.record import Record
from counteract.saga.resolution import Parking, Resolution, corrected, replacement

# The old branch, which let such a word go by, can go once no saga is under way in which one was said on a release
# without it.
_HEARD = "counteract: the last word on a step that is being barred counts"


class _DecidedAgain(Exception):
    """A person has decided anew about a step that is being barred for what was decided before."""

    def __init__(self, decision: Resolution) -> None:
        super().__init__(decision.decision)
        self.decision = decision


@dataclass(frozen=True, slots=True)
class Stepper:
    """Carries out the steps of one saga and writes what became of them into its ledger."""

    ledger: Ledger
    record: Record
    parking: Parking
    display: Display
    alert_after: timedelta
    _appeals: dict[str, asyncio.Task[Resolution]] = field(default_factory=dict)
    """The questions to a person about stuck steps, by the steps' keys; meanwhile the steps may be tried on."""
    _outdated: Counter[str] = field(default_factory=Counter)
    """The number of times that a step was refused because a later look at the record had raised the epoch."""

    @property
    def _dispatcher(self) -> Dispatcher:
        return self.record.dispatcher

    async def forward(self, step: Step, options: Options) -> Any:
        """Carry the step out, and return its result. Raises Rejected or StepFailed.

        Its outcome is in the ledger either way.
        """
        match step.kind:
            case CommandKind.COMPENSATABLE:
                return await self._once(step, options)
            case CommandKind.PIVOT:
                return await self._decided(step, options)
            case CommandKind.RETRIABLE:
                return await self._until_it_succeeds(step, options)

    async def given_up(self, step: Step) -> Settled[Any] | None:
        """The result to go on with, where an earlier run was told to go on without the step; else None."""
        latest = self.record.skips.latest(step)
        if latest is None:
            return None
        asked, step.retries = step.retries, latest
        settled = await self.record.skips.result_of(step)
        if settled is None:
            step.retries = asked
            return None
        self.record.own([step])
        step.skipped = True
        self._settle(step, Outcome.NOT_APPLIED)
        return settled

    async def find_out(self, pivot: Step) -> None:
        """Find out whether a pivot that another run began took effect. If it did not, it never will."""
        settled = await self._settlement(pivot)
        self._settle(pivot, Outcome.APPLIED if settled.happened else Outcome.NOT_APPLIED)

    async def undo(self, step: Step, role: Role) -> None:
        """Undo the step, however long it takes. There is no attempt limit: only a person may give up, on the record.

        `role`: whether the saga turns back with it, or goes on without the step. Raises RecordSaysOtherwise where the
        record allows neither.
        """
        if step.undoing is Undoing.RUNNING:
            # Begun by the saga's code, which went on without the step, and has failed elsewhere since.
            await workflow.wait_condition(lambda: step.undoing is not Undoing.RUNNING)
        if self._is_concluded(step):
            return
        step.undoing = Undoing.RUNNING
        self.display.update()
        while not step.concluded:
            epoch = self._dispatcher.epoch
            try:
                await self._undo(step, role)
                step.undoing = Undoing.UNDONE
            except (ActivityError, StepFailed) as error:
                if state := says_otherwise(error):
                    await self._renewed(step, state, epoch)
                    continue
                decision = await self._trouble(step, error)
                if decision and decision.decision == "skip":
                    await self.record.skips.put(step, decision, "undo")
                    step.undoing = Undoing.SKIPPED
                elif decision:
                    _correct(step, decision)
            self._noted(step, stuck=step.stuck and not step.concluded)

    def _is_concluded(self, step: Step) -> bool:
        if not step.concluded and self.record.skips.is_undo_given_up(step):
            step.undoing = Undoing.SKIPPED
            self.display.update()
        return step.concluded

    async def _renewed(self, step: Step, state: str, epoch: int | None) -> None:
        """Take up the record again where it allows the undo under another epoch. Else raises RecordSaysOtherwise."""
        if state != "superseded":
            step.undoing = Undoing.NOT_BEGUN
            raise RecordSaysOtherwise(f"{step.key} is not undone: the saga's record is {state}", state)
        await self.record.risen(epoch, f"{step.dispatch_key} is undone")

    async def _undo(self, step: Step, role: Role) -> None:
        if step.is_child and not step.corrected:
            step.command = await self.record.as_begun(step)
        child = step.command
        if isinstance(child, ChildSaga) and step.outcome is Outcome.UNKNOWN:
            settling = self._dispatcher.settle_child(step, child, self.alert_after)
            happened = completion_of(step, await self._try(step, settling))
            step.outcome = Outcome.APPLIED if happened else Outcome.NOT_APPLIED
        if step.may_have_applied:
            await self._try(step, self._dispatcher.undo(step, self.alert_after, role))

    async def _once(self, step: Step, options: Options) -> Any:
        try:
            result = await self._answer(step, options)
        except (Rejected, StepFailed) as failure:
            self._settle(step, _outcome(failure))
            raise
        except asyncio.CancelledError:
            self._settle(step, Outcome.UNKNOWN)
            raise
        self._settle(step, Outcome.APPLIED)
        return result

    async def _decided(self, pivot: Step, options: Options) -> Any:
        """The pivot's result. An unknown outcome is settled and never guessed: from here the saga goes one way only."""
        try:
            result = await self._answer(pivot, options)
        except Rejected:
            self._settle(pivot, Outcome.NOT_APPLIED)
            raise
        except StepFailed:
            settled = await self._settlement(pivot)
            if not settled.happened:
                self._settle(pivot, Outcome.NOT_APPLIED)
                raise
            result = settled.result
        self._settle(pivot, Outcome.APPLIED)
        return result

    async def _answer(self, step: Step, options: Options) -> Any:
        if options.child is not None:
            return await run_child(step, options.child, self._dispatcher.as_parent_of(step))
        while True:
            epoch = self._dispatcher.epoch
            counted = self.record.counted() if step.kind is CommandKind.PIVOT else {}
            try:
                return answer_of(step, await self._dispatcher.forward(step, options, counted))
            except ActivityError as error:
                if says_otherwise(error) != "superseded":
                    raise failure_of(step, error) from error
                await self.record.rise(epoch, f"{step.dispatch_key} is sent again")

    async def _settlement(self, step: Step) -> Settled[Any]:
        """Whether the step happened; if not, it never will.

        Raises _DecidedAgain where a person takes back what it is barred for.
        """
        while True:
            try:
                return settlement_of(step, await self._try(step, self._dispatcher.settle(step, self.alert_after)))
            except (ActivityError, StepFailed) as error:
                decision = await self._trouble(step, error)
                # There is no third way out of an unknown pivot: whatever a person decides here is to ask again.
                if decision and step.kind is CommandKind.RETRIABLE and _replaces(decision) and workflow.patched(_HEARD):
                    raise _DecidedAgain(decision) from error

    async def _until_it_succeeds(self, step: Step, options: Options) -> Any:
        retry = replace(options.retry or step.command.spec.retry, attempts=None)
        patient = replace(
            options,
            timeout=options.timeout or max(self.alert_after, options.applied_to(step.command.spec).attempt_timeout),
            retry=retry,
        )
        while True:
            epoch = self._dispatcher.epoch
            try:
                result = answer_of(step, await self._try(step, self._dispatcher.forward(step, patient)))
            except (ActivityError, StepFailed) as error:
                decision = None if await self._is_risen(step, error, epoch) else await self._trouble(step, error)
                if decision is None:
                    continue
                went = await self._barred(step, decision, failure_of(step, error))
                if went is not None:
                    return went.result
            else:
                self._settle(step, Outcome.APPLIED)
                return result

    async def _is_risen(self, step: Step, error: ActivityError | StepFailed, epoch: int | None) -> bool:
        """Whether the step was refused as outdated, and can be sent again under the epoch that the run has now."""
        if says_otherwise(error) != "superseded":
            return False
        self._outdated[step.dispatch_key] += 1
        # Under a name for each time: a saga that is stuck with the step can be told to try again. The old branch can go
        # once no saga is under way that a release without it has brought past its pivot.
        if not workflow.patched(f"counteract: {step.dispatch_key} rises, {self._outdated[step.dispatch_key]}"):
            return False
        await self.record.risen(epoch, f"{step.dispatch_key} is sent again")
        return True

    async def _barred(self, step: Step, decision: Resolution, failure: Rejected | StepFailed) -> Settled[Any] | None:
        """The result with which the saga goes on after a decision; None where that is by another attempt.

        As it is, the step is asked again under its own id: it may have happened. Before another command, or none, takes
        its place, it is barred, and if it turns out to have happened, its result is taken. Only a refusal keeps its
        recorded answer, so that asking again takes a new id.

        The last word counts, also one that comes while the step is being barred. Who gives up then has been told that
        nobody can find out what became of the step, and need not wait for it.
        """
        while True:
            try:
                return await self._replaced(step, decision, failure)
            except _DecidedAgain as again:
                decision = again.decision
            if decision.decision == "skip":
                return await self._given_up_at_once(step, decision)

    async def _replaced(self, step: Step, decision: Resolution, failure: Rejected | StepFailed) -> Settled[Any] | None:
        refused = isinstance(failure, Rejected)
        replaced = _replaces(decision)
        settled = await self._settlement(step) if self.record.is_kept and replaced and not refused else None
        if decision.decision == "skip" and not (settled and settled.happened):
            settled = await self._corrections_barred(step)
        if settled is not None and settled.happened:
            self._settle(step, Outcome.APPLIED)
            return settled
        if decision.decision == "skip":
            self._settle(step, Outcome.NOT_APPLIED if self.record.is_kept else _outcome(failure))
            step.skipped = self.record.is_kept
            await self.record.skips.put(step, decision, "step")
            return Settled(happened=False, result=replacement(step, decision))
        if replaced or refused or not self.record.is_kept:
            step.command = corrected(step, decision)
            step.retries += 1
            self.record.own([step])
        return None

    async def _corrections_barred(self, step: Step) -> Settled[Any] | None:
        """Bar the corrections of the step that earlier runs may have sent: given up as well, unless one happened."""
        settled = None
        while not (settled and settled.happened) and (correction := await self.record.correction(step)):
            step.retries, step.command = correction
            self.record.own([step])
            settled = await self._settlement(step)
        return settled

    async def _given_up_at_once(self, step: Step, decision: Resolution) -> Settled[Any]:
        """Give the step up without asking what became of it.

        It counts if an earlier run has carried it out, as a person had corrected it: that is on record.
        """
        sent = [(step.retries, step.command)]
        while correction := await self.record.correction(step):
            step.retries, step.command = correction
            counts = self.record.foreign[step.dispatch_key].counts
            self.record.own([step])
            if counts:
                self._settle(step, Outcome.APPLIED)
                return Settled(happened=True, result=replacement(step, decision))
            sent.append(correction)
        for step.retries, step.command in sent:
            await self.record.skips.put(step, decision, "step")
        self._settle(step, Outcome.NOT_APPLIED)
        step.skipped = True
        return Settled(happened=False, result=replacement(step, decision))

    async def _try(self, step: Step, attempt: ActivityHandle[RawValue]) -> RawValue:
        """The attempt's result. Where a person has been asked, their decision puts an end to it."""
        appeal = self._appeals.get(step.key)
        if appeal is None:
            return await attempt
        await workflow.wait([attempt, appeal], return_when=asyncio.FIRST_COMPLETED)
        if not attempt.done():
            attempt.cancel()
            await workflow.wait([attempt])
        if attempt.cancelled():
            # It ended in the very moment of the decision, and its answer is lost to the cancellation.
            raise StepFailed(step.key, "stopped by a decision")
        result = await attempt
        self._withdraw(step)
        return result

    async def _trouble(self, step: Step, error: ActivityError | StepFailed) -> Resolution | None:
        """The decision of a person about what must succeed, and has not; None to try on.

        It is waited for where trying is of no use.
        """
        self._noted(step, stuck=True)
        if step.key not in self._appeals:
            self._appeals[step.key] = asyncio.create_task(self._asked(step, describe(failure_of(step, error))))
        appeal = self._appeals[step.key]
        if not (appeal.done() or is_final(error)):
            return None
        decision = await appeal
        self._withdraw(step)
        self._noted(step, stuck=False)
        return decision

    async def _asked(self, step: Step, why: str) -> Resolution:
        """The decision of a person, who is told that the step is stuck."""
        return await self.parking.ask(step, why)

    def _withdraw(self, step: Step) -> None:
        """Take the question back: the step needs no decision any more."""
        self._appeals.pop(step.key).cancel()

    def _settle(self, step: Step, outcome: Outcome) -> None:
        self.ledger.settle(step, outcome)
        self._noted(step, stuck=False)

    def _noted(self, step: Step, *, stuck: bool) -> None:
        step.stuck = stuck
        self.display.update()


def _replaces(decision: Resolution) -> bool:
    """Whether something else takes the step's place, or nothing does."""
    return decision.decision == "skip" or decision.command is not None


def _correct(step: Step, decision: Resolution) -> None:
    step.command = corrected(step, decision)
    step.corrected = step.corrected or decision.command is not None


def _outcome(failure: Exception) -> Outcome:
    return Outcome.NOT_APPLIED if isinstance(failure, Rejected) else Outcome.UNKNOWN

"""One step at a time: forward until its outcome is known, or undone until it is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

from temporalio.exceptions import ActivityError

from counteract.errors import Rejected
from counteract.messages import CommandKind, Outcome
from counteract.saga.dispatching import Dispatcher, Options, failure_of, is_final
from counteract.saga.ledger import Ledger, Step, Undoing
from counteract.saga.parking import Resolution, corrected, replacement


class Observer(Protocol):
    """Whoever shows the saga to the world, and knows whom to ask."""

    def changed(self) -> None:
        """The ledger has news."""

    def stuck(self, step: Step, why: str) -> Awaitable[Resolution]:
        """Report the step as stuck and wait for a decision."""


@dataclass(frozen=True, slots=True)
class Stepper:
    """Carries out the steps of one saga and writes what became of them into its ledger."""

    ledger: Ledger
    dispatcher: Dispatcher
    observer: Observer
    alert_after: timedelta

    async def forward(self, step: Step, options: Options) -> Any:
        """The step's result; raises Rejected or StepFailed. Its outcome is in the ledger either way."""
        match step.kind:
            case CommandKind.COMPENSATABLE:
                return await self._once(step, options)
            case CommandKind.PIVOT:
                return await self._decided(step, options)
            case CommandKind.RETRIABLE:
                return await self._until_it_succeeds(step, options)

    async def find_out(self, pivot: Step) -> None:
        """Whether a pivot that another saga began took effect. If it did not, it never will."""
        settled = await self._settlement(pivot)
        self._settle(pivot, Outcome.APPLIED if settled.happened else Outcome.NOT_APPLIED)

    async def undo(self, step: Step) -> None:
        """Undo the step, however long it takes. There is no attempt limit: only a person may give up, on the record."""
        step.undoing = Undoing.RUNNING
        self.observer.changed()
        while not step.concluded:
            try:
                await self.dispatcher.undo(step, self.alert_after)
                step.undoing = Undoing.UNDONE
            except ActivityError as error:
                decision = await self._trouble(step, error)
                if decision and decision.decision == "skip":
                    step.undoing = Undoing.SKIPPED
                elif decision:
                    step.command = corrected(step, decision)
            self._noted(step, stuck=step.stuck and not step.concluded)

    async def _once(self, step: Step, options: Options) -> Any:
        try:
            result = await self.dispatcher.forward(step, options)
        except ActivityError as error:
            failure = failure_of(step, error)
            self._settle(step, Outcome.NOT_APPLIED if isinstance(failure, Rejected) else Outcome.UNKNOWN)
            raise failure from error
        except asyncio.CancelledError:
            self._settle(step, Outcome.UNKNOWN)
            raise
        self._settle(step, Outcome.APPLIED)
        return result

    async def _decided(self, pivot: Step, options: Options) -> Any:
        """An unknown outcome is settled and never guessed: from here the saga goes one way only."""
        try:
            result = await self.dispatcher.forward(pivot, options)
        except ActivityError as error:
            failure = failure_of(pivot, error)
            if isinstance(failure, Rejected):
                self._settle(pivot, Outcome.NOT_APPLIED)
                raise failure from error
            settled = await self._settlement(pivot)
            if not settled.happened:
                self._settle(pivot, Outcome.NOT_APPLIED)
                raise failure from error
            result = settled.result
        self._settle(pivot, Outcome.APPLIED)
        return result

    async def _settlement(self, pivot: Step) -> Any:
        while True:
            try:
                return await self.dispatcher.settle(pivot, self.alert_after)
            except ActivityError as error:
                # There is no third way out of an unknown pivot: whatever a person decides here is to ask again.
                await self._trouble(pivot, error)

    async def _until_it_succeeds(self, step: Step, options: Options) -> Any:
        retry = replace(options.retry or step.command.spec.retry, attempts=None)
        patient = replace(options, timeout=options.timeout or self.alert_after, retry=retry)
        while True:
            try:
                result = await self.dispatcher.forward(step, patient)
            except ActivityError as error:
                decision = await self._trouble(step, error)
                if decision is None:
                    continue
                if decision.decision == "skip":
                    self._settle(step, Outcome.NOT_APPLIED)
                    return replacement(step, decision)
                step.command = corrected(step, decision)
                step.retries += 1
            else:
                self._settle(step, Outcome.APPLIED)
                return result

    async def _trouble(self, step: Step, error: ActivityError) -> Resolution | None:
        """What must succeed has not: None to try on, or, where that is of no use, what a person decided."""
        self._noted(step, stuck=True)
        if not is_final(error):
            return None
        decision = await self.observer.stuck(step, str(failure_of(step, error)))
        self._noted(step, stuck=False)
        return decision

    def _settle(self, step: Step, outcome: Outcome) -> None:
        self.ledger.settle(step, outcome)
        self._noted(step, stuck=False)

    def _noted(self, step: Step, *, stuck: bool) -> None:
        step.stuck = stuck
        self.observer.changed()

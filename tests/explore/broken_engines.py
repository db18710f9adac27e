"""Engines with a line removed, which exploration has to tell from the whole one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.workflow import ActivityCancellationType

from counteract.lifecycle import Page, SagaResolved
from counteract.messages import Command, Outcome, Role
from counteract.participants import lifecycle
from counteract.participants.executor import Executor
from counteract.participants.fence import FIND_COMMAND, Fence, Fenced, Known
from counteract.saga import SagaWorkflow, dispatcher, display, flights, run, stepper, tasks
from counteract.saga.flights import Flights
from counteract.saga.ledger import Ledger, Undoing
from counteract.saga.lifecycle import Chronicle
from counteract.saga.run import SagaRun
from counteract.saga.saga import Saga
from counteract.saga.stepper import Stepper

Break = Callable[[pytest.MonkeyPatch], None]


def for_another_trip(command: Command[Any]) -> Command[Any]:
    """A correction that shows: what a script does does not depend on it."""
    return command.model_copy(update={"trip": "another"})


def armed_after_dispatch(patch: pytest.MonkeyPatch) -> None:
    """A step comes into the ledger with its answer, as in hand-written stacks of undo."""
    once = Stepper._once

    async def forgetful(self: Stepper, step: Any, options: Any) -> Any:
        try:
            return await once(self, step, options)
        finally:
            if step.outcome is Outcome.UNKNOWN:
                self.ledger.steps.remove(step)

    patch.setattr(Stepper, "_once", forgetful)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """An undo looks whether there is something to undo, and leaves the way open for what comes later."""

    async def look(self: Fence, activity: str, command: Any, dispatch: Any, role: Any, **more: Any) -> Fenced:
        async with self.store.connection() as connection:
            row = await (await connection.execute(FIND_COMMAND, (dispatch.undoes,))).fetchone()
        known = Known.APPLIED if row and row[0] == "done" else Known.NEVER
        return Fenced(known, row[1] if row else None, None, command.spec.name, lost=False, began=datetime.now(UTC))

    patch.setattr(Fence, "fence", look)


def undone_in_start_order(patch: pytest.MonkeyPatch) -> None:
    reverse = Ledger._in_undo_order
    patch.setattr(Ledger, "_in_undo_order", lambda self, steps: reverse(self, steps)[::-1])


def undo_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """What an undo did is recorded under some new id each time, so that twice is twice."""
    record = Fence.record

    async def forgetful(self: Fence, activity: str, command: Any, dispatch: Any, role: Any, **answer: Any) -> Any:
        if dispatch.undoes:
            dispatch = dispatch.model_copy(update={"command_id": uuid4()})
        return await record(self, activity, command, dispatch, role, **answer)

    patch.setattr(Fence, "record", forgetful)


def pivot_guessed(patch: pytest.MonkeyPatch) -> None:
    """No answer is taken for a no."""

    async def guess(self: Stepper, pivot: Any) -> Any:
        return SimpleNamespace(happened=False, result=None)

    patch.setattr(Stepper, "_settlement", guess)


def undo_while_the_step_runs(patch: pytest.MonkeyPatch) -> None:
    kinds = SimpleNamespace(WAIT_CANCELLATION_COMPLETED=ActivityCancellationType.TRY_CANCEL)
    patch.setattr(dispatcher, "ActivityCancellationType", kinds)


def undo_can_be_cancelled(patch: pytest.MonkeyPatch) -> None:
    async def unprotected(work: Any) -> Any:
        return await work

    def always(self: SagaRun, why: Any) -> None:
        self.course.stop(why, why)
        if self.flights.body:
            self.flights.body.cancel()

    patch.setattr(run, "to_the_end", unprotected)
    patch.setattr(SagaRun, "interrupt", always)


def cancellation_swallowed(patch: pytest.MonkeyPatch) -> None:
    """A step that completes although it was cancelled lets the saga forget that it was."""

    async def settled(flights: Sequence[Any], *, cancel: bool) -> list[Any]:
        try:
            return await tasks.settled(flights, cancel=cancel)
        except asyncio.CancelledError:
            return [flight.result() for flight in flights]

    patch.setattr(flights, "settled", settled)
    patch.setattr(Flights, "raise_if_interrupted", lambda self: None)
    patch.setattr(Flights, "is_stopped", lambda self: self.course.is_closing)


def skip_not_recorded(patch: pytest.MonkeyPatch) -> None:
    """The end of the saga says what was undone, and nothing of what was not."""
    ends_with(patch, skipped=())


def skip_reported_as_undone(patch: pytest.MonkeyPatch) -> None:
    """Whatever a person decided: once the undo is over, it is over."""
    undo = Stepper.undo

    async def rounded_up(self: Stepper, step: Any, role: Any) -> None:
        await undo(self, step, role)
        step.undoing = Undoing.UNDONE

    patch.setattr(Stepper, "undo", rounded_up)


def decision_not_recorded(patch: pytest.MonkeyPatch) -> None:
    """Who let the saga go on is nobody's business."""
    record = Chronicle.record

    async def selective(self: Chronicle, event: Any, **what: Any) -> None:
        if event is not SagaResolved:
            await record(self, event, **what)

    patch.setattr(Chronicle, "record", selective)


def correction_ignored(patch: pytest.MonkeyPatch) -> None:
    """What is tried again is what failed."""
    patch.setattr(stepper, "corrected", lambda step, decision: step.command)


def skipped_step_carried_out(patch: pytest.MonkeyPatch) -> None:
    """To skip and to try again are the same, as far as the engine knows."""
    once = Stepper._asked

    async def asked(self: Stepper, step: Any, why: str) -> Any:
        return (await once(self, step, why)).model_copy(update={"decision": "retry"})

    patch.setattr(Stepper, "_asked", asked)


def ends_with(patch: pytest.MonkeyPatch, **wrong: Any) -> None:
    """The last lifecycle event says something else."""
    end = Chronicle.end

    async def ending(self: Chronicle, kind: Any, about: Any, **fields: Any) -> Any:
        known = kind.model_fields
        return await end(self, kind, about, **{**fields, **{key: each for key, each in wrong.items() if key in known}})

    patch.setattr(Chronicle, "end", ending)


def undone_not_listed(patch: pytest.MonkeyPatch) -> None:
    ends_with(patch, undone=())


def cause_made_up(patch: pytest.MonkeyPatch) -> None:
    ends_with(patch, cause="something went wrong")


def steps_not_listed(patch: pytest.MonkeyPatch) -> None:
    ends_with(patch, steps=())


def recorded_with(patch: pytest.MonkeyPatch, role: Role, change: Callable[[Any], Any]) -> None:
    """The events of one kind of command are others than its handler appended."""
    record = Fence.record

    async def recording(self: Fence, activity: str, command: Any, dispatch: Any, what: Any, **answer: Any) -> Any:
        if (what is Role.FORWARD) == (role is Role.FORWARD) and "changes" in answer:
            answer["changes"] = [replace(each, events=change(each.events)) for each in answer["changes"]]
        return await record(self, activity, command, dispatch, what, **answer)

    patch.setattr(Fence, "record", recording)


def events_dropped(patch: pytest.MonkeyPatch) -> None:
    recorded_with(patch, Role.FORWARD, lambda events: [])


def events_doubled(patch: pytest.MonkeyPatch) -> None:
    recorded_with(patch, Role.FORWARD, lambda events: [*events, *events])


def events_of_the_undo_dropped(patch: pytest.MonkeyPatch) -> None:
    recorded_with(patch, Role.UNDO, lambda events: [])


def events_of_the_undo_doubled(patch: pytest.MonkeyPatch) -> None:
    recorded_with(patch, Role.UNDO, lambda events: [*events, *events])


def compensated_with(patch: pytest.MonkeyPatch, change: Callable[[Any, Any, Any], tuple[Any, Any, Any]]) -> None:
    compensate = Executor._compensate

    async def mistaken(self: Executor, command: Any, dispatch: Any, outcome: Any, result: Any, **more: Any) -> None:
        command, outcome, result = change(command, outcome, result)
        await compensate(self, command, dispatch, outcome, result, **more)

    patch.setattr(Executor, "_compensate", mistaken)


def undo_of_another_command(patch: pytest.MonkeyPatch) -> None:
    compensated_with(patch, lambda command, outcome, result: (for_another_trip(command), outcome, result))


def undo_without_the_result(patch: pytest.MonkeyPatch) -> None:
    compensated_with(patch, lambda command, outcome, result: (command, outcome, None))


def undo_told_nothing(patch: pytest.MonkeyPatch) -> None:
    compensated_with(patch, lambda command, outcome, result: (command, Outcome.UNKNOWN, None))


def deadline_never_armed(patch: pytest.MonkeyPatch) -> None:
    make = SagaWorkflow.saga

    def without(self: SagaWorkflow, *, deadline: Any = None, **options: Any) -> Saga:
        return make(self, **options)

    patch.setattr(SagaWorkflow, "saga", without)


def siblings_not_stopped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flights, "settled", lambda tasks_, *, cancel: tasks.settled(tasks_, cancel=False))


def answers_out_of_order(patch: pytest.MonkeyPatch) -> None:
    async def reversed_(flights: Sequence[Any], *, cancel: bool) -> list[Any]:
        return (await tasks.settled(flights, cancel=cancel))[::-1]

    patch.setattr(flights, "settled", reversed_)


def attributes_never_set(patch: pytest.MonkeyPatch) -> None:
    quiet = SimpleNamespace(**{**vars(workflow), "upsert_search_attributes": lambda attributes: None})
    patch.setattr(display, "workflow", quiet)


def lost_sagas_overlooked(patch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any, **__: Any) -> Page:
        return Page(lost=(), left=(), after=None)

    patch.setattr(lifecycle, "lost_page", nobody)


def handlers_treated_as_code(patch: pytest.MonkeyPatch) -> None:
    """A step that comes at the wrong time is a mistake of the saga's code, wherever it comes from."""
    patch.setattr(flights, "IN_HANDLER", ContextVar("never set", default=False))


def asked_again_under_another_id(patch: pytest.MonkeyPatch) -> None:
    async def never(self: Stepper, step: Any, decision: Any, failure: Any) -> None:
        step.retries += 1

    patch.setattr(Stepper, "_barred", never)

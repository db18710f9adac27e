"""Steps that cannot go on by themselves, and the decisions of the people who let them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from counteract.commands import MAX_COMMAND_BYTES, check_storable, of_content
from counteract.errors import ConfigurationError, InvalidCommand, SagaMisuse
from counteract.lifecycle import SagaResolved, SagaStuck
from counteract.messages import Command, CommandKind
from counteract.mistakes import mistakes
from counteract.saga.children import ChildSaga, check_fits, check_undo, result_type
from counteract.saga.ledger import Step, Undoing
from counteract.saga.lifecycle import Chronicle
from counteract.saga.tasks import in_a_task_of_its_own
from counteract.storable import Unstorable, written

Decision = Literal["retry", "skip", "fail"]


class Resolution(BaseModel):
    """The argument of the `resolve` update: what is to become of a stuck step, who says so, and why. Recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    """The step's key as in the `report` query."""
    decision: Decision
    who: str = Field(min_length=1)
    why: str = Field(min_length=1)
    command: dict[str, Any] | None = None
    """The corrected command, whole; with `retry` alone."""
    result: Any = None
    """The result that the saga goes on with in the place of the step's own; with `skip` of a forward step."""


@dataclass(slots=True)
class Parking:
    """The stuck steps of one saga, and what people decide about them."""

    chronicle: Chronicle
    _waiting: dict[str, tuple[Step, asyncio.Future[Resolution]]] = field(default_factory=dict)

    async def ask(
        self,
        step: Step,
        why: str,
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - a timer of the server's
        moot: Callable[[], bool] = bool,
    ) -> Resolution:
        """Report the step as stuck and wait for a decision, both on record.

        Raises TimeoutError when none came in time, or once the question is `moot`.
        """
        # Said now, for nothing may be said right behind a local activity. The old branch can go once no saga is under
        # way in which a step was stuck on a release without it.
        apart = workflow.patched("counteract: a decision has a task of its own")
        decided = asyncio.create_task(self._decision_on(step))
        try:
            await self.chronicle.record(SagaStuck, step=step.key, why=why)
            await workflow.wait_condition(lambda: decided.done() or moot(), timeout=timeout)
            if not decided.done():
                if apart:
                    # A decision that came now would be taken, and count for nothing. The old branch can go as above.
                    if workflow.patched("counteract: a moot question takes no answer"):
                        decided.cancel()
                    await in_a_task_of_its_own()
                raise TimeoutError
            decision = decided.result()
        finally:
            decided.cancel()
        said = {"decision": decision.decision, "who": decision.who, "why": decision.why}
        await self.chronicle.record(SagaResolved, step=step.key, **said)
        if apart:
            await in_a_task_of_its_own()
        return decision

    async def _decision_on(self, step: Step) -> Resolution:
        decided: asyncio.Future[Resolution] = asyncio.get_running_loop().create_future()
        self._waiting[step.key] = (step, decided)
        try:
            return await decided
        finally:
            del self._waiting[step.key]

    def check(self, resolution: Resolution) -> None:
        """Refuse what makes no sense, before it leaves a trace in the history. Raises ApplicationError."""
        step = self._step(resolution)
        if resolution.decision not in (possible := _decisions_on(step)):
            asked = " or ".join(possible)
            raise _nonsense(f"{step.key} cannot be decided by {resolution.decision}, only by {asked}: {_why(step)}")
        goes_on = resolution.decision == "skip" and step.undoing is not Undoing.RUNNING
        _check_what_goes_with(step, resolution, takes_result=goes_on)
        try:
            if resolution.command is not None:
                _check_correction(step, corrected(step, resolution))
            if goes_on:
                replacement(step, resolution)
            _check_result(resolution.result)
        except (InvalidCommand, SagaMisuse, ConfigurationError) as error:
            raise _nonsense(str(error)) from None
        except ValidationError as error:
            what = "corrected command" if resolution.command is not None else "result to go on with"
            fields = "; ".join(each.said(what) for each in mistakes(error))
            raise _nonsense(f"the {what} of {step.key} is not valid: {fields}") from None

    def resolve(self, resolution: Resolution) -> None:
        """Let the step go on.

        Raises ApplicationError where another resolution has come first since this one was checked.
        """
        self._step(resolution)
        self._waiting[resolution.step][1].set_result(resolution)

    def _step(self, resolution: Resolution) -> Step:
        step, decided = self._waiting.get(resolution.step, (None, None))
        if step is None or decided is None or decided.done():
            stuck = ", ".join(self._waiting) or "none"
            raise _nonsense(f"no step {resolution.step!r} is stuck in this saga (stuck: {stuck})")
        return step


def _decisions_on(step: Step) -> tuple[Decision, ...]:
    """The decisions that a person can make about a step that is stuck."""
    if step.undoing is Undoing.RUNNING or step.kind is CommandKind.RETRIABLE:
        return "retry", "skip"
    if step.kind is CommandKind.COMPENSATABLE:
        return "retry", "skip", "fail"
    return ("retry", "fail") if step.parked else ("retry",)


def corrected(step: Step, resolution: Resolution) -> Command[Any]:
    """The command to try again with."""
    return step.command if resolution.command is None else of_content(type(step.command), resolution.command)


def replacement(step: Step, resolution: Resolution) -> Any:
    """The result that a skipped forward step is taken to have returned. Raises ValidationError."""
    return _as_result(step, resolution.result)


def reading(step: Step) -> Callable[[Any], Any]:
    """The reader of what is given in the place of the step's result, which raises ValidationError.

    To be asked for before a local activity.
    """
    # The old branch, which took whatever was given for a child, can go once no saga is under way that went on without a
    # child on a release without it.
    if step.is_child and not workflow.patched(f"counteract: what stands for the result of {step.dispatch_key} is read"):
        return lambda given: given
    return partial(_as_result, step)


def _as_result(step: Step, given: Any) -> Any:
    # What a child returns its command does not say.
    declared = step.command.spec.result if step.run is None else TypeAdapter(result_type(step.run))
    return declared.validate_json(to_json(given))


def _check_what_goes_with(step: Step, resolution: Resolution, *, takes_result: bool) -> None:
    if resolution.command is not None and resolution.decision != "retry":
        raise _nonsense(f"a corrected command goes with retry, and not with {resolution.decision}")
    if resolution.command is not None and step.kind is CommandKind.PIVOT and not step.parked:
        raise _nonsense(f"{step.key} was sent as it is: whether it happened is asked again, and not corrected")
    if resolution.result is not None and not takes_result:
        raise _nonsense(f"a result goes with the skip of a step that went forward: {step.key} has no use for one")


def _check_correction(step: Step, command: Command[Any]) -> None:
    """Refuse a command that cannot be sent in the step's place, or, for a child saga, cannot undo it.

    Nobody reads what is to undo a child before it is sent. Raises ValidationError too.
    """
    check_storable(command)
    if not (isinstance(command, ChildSaga) and isinstance(step.command, ChildSaga)):
        return
    was = step.command
    if command.saga_type != was.saga_type:
        raise _nonsense(f"{step.key} is a {was.saga_type}, and stays one: its saga_type cannot be corrected")
    if command.saga_id != was.saga_id and step.undoing is Undoing.RUNNING:
        raise _nonsense(f"{step.key} is being undone: what has begun is {was.saga_id}, and its saga_id stays")
    check_undo(command.saga_id, command.compensation)
    check_fits(command)


def _check_result(result: Any) -> None:
    """Refuse a result in a skipped step's place that cannot be put on record."""
    try:
        size = len(written(result).encode())
    except Unstorable as error:
        raise _nonsense(f"the result to go on with {error}") from None
    if size > MAX_COMMAND_BYTES // 2:
        raise _nonsense(f"the result to go on with has {size} bytes, more than {MAX_COMMAND_BYTES // 2}")


def _why(step: Step) -> str:
    if step.undoing is Undoing.RUNNING:
        return "it is being undone"
    match step.kind:
        case CommandKind.PIVOT if not step.parked:
            return "whether the pivot happened is to be found out, and retry asks again"
        case CommandKind.PIVOT:
            return "the saga cannot pass its pivot without it"
        case CommandKind.RETRIABLE:
            return "past the pivot there is only forward"
        case CommandKind.COMPENSATABLE:
            return "it failed, and has not been undone"


def _nonsense(what: str) -> ApplicationError:
    return ApplicationError(what, type="ResolutionRefused", non_retryable=True)

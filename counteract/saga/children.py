"""A step that is a saga of its own: it undoes itself where it fails, and once it has completed a command undoes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast, get_type_hints

from pydantic import Field
from pydantic_core import to_json
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError

from counteract.commands import MAX_COMMAND_BYTES, check_storable, command_type, command_types, content_of, of_content
from counteract.errors import CounteractError, InvalidCommand, Rejected, SagaMisuse, StepFailed
from counteract.lifecycle import CHILD, PARENT, LostStep, Parent
from counteract.messages import Command, Compensatable, Retriable, subclasses
from counteract.saga.converter import COMPENSATED
from counteract.saga.ledger import Step
from counteract.saga.words import in_own_words
from counteract.storable import storable_text


class SagaHost:
    """The base of `SagaWorkflow`, by which a workflow class is known whose runs undo themselves."""


class ChildSaga(Compensatable[Any], service="(a child workflow)", compensation="(its own command)"):
    """The entry of a child in its parent's ledger. It travels like any command: to the next run, and to a recovery."""

    is_child: ClassVar[bool] = True

    saga_type: str
    saga_id: str
    """The child's workflow id."""
    undo_type: str
    undo: dict[str, object]
    undo_service: str | None = Field(default=None, exclude_if=lambda service: service is None)
    """The service of the undo, where the name of its type does not say it."""

    def step_name(self) -> str:
        """The child's type, after which its step is called."""
        return self.saga_type

    @property
    def compensation(self) -> Command[Any]:
        """The command that undoes the child once it has completed."""
        return of_content(command_type(self.undo_type, self.undo_service), self.undo)


@dataclass(frozen=True, slots=True)
class ChildCall:
    """The call that starts a child, which no other run has to know."""

    run: Callable[[Any, Any], Awaitable[Any]]
    request: Any
    task_queue: str | None


def child_saga(run: Callable[[Any, Any], Awaitable[Any]], saga_id: str, compensation: Command[Any]) -> ChildSaga:
    """The command that stands for a child in the ledger. Raises SagaMisuse for what cannot be a child, or undo one."""
    hosts = [each for each in subclasses(SagaHost) if run in vars(each).values()]
    if not hosts:
        raise SagaMisuse(
            f"{getattr(run, '__qualname__', run)} is not the run method of a SagaWorkflow: only a saga undoes itself"
        )
    check_undo(saga_id, compensation)
    name, service = compensation.spec.name, compensation.spec.service
    is_known_by_name = sum(name == each for _, each in command_types()) == 1
    return ChildSaga(
        saga_type=hosts[0].__name__,
        saga_id=saga_id,
        undo_type=name,
        undo=content_of(compensation),
        undo_service=None if is_known_by_name else service,
    )


def check_undo(saga_id: str, compensation: Command[Any]) -> None:
    """Raises SagaMisuse for a command that cannot undo a child, and InvalidCommand for one that cannot be sent."""
    if not isinstance(compensation, Retriable):
        raise SagaMisuse(
            f"{type(compensation).__name__} cannot undo {saga_id}: what undoes a child saga must be Retriable, for "
            "there is no way back from an undo"
        )
    check_storable(compensation)


def check_fits(command: ChildSaga) -> None:
    """Raises InvalidCommand for a child whose workflow could not be told which step it is: its memo says it twice."""
    if (size := len(to_json(command))) > MAX_COMMAND_BYTES // 2:
        what = f"with what undoes it has {size} bytes, more than {MAX_COMMAND_BYTES // 2}: keep what is large elsewhere"
        raise InvalidCommand(command.step_name(), what)


def check_request(command: Command[Any], call: ChildCall) -> None:
    """Raises InvalidCommand for a request that the child's workflow cannot be sent."""
    try:
        size = len(workflow.payload_converter().to_payload(call.request).data)
    except Exception as error:
        raise InvalidCommand(
            command.step_name(), f"is sent a request that cannot be written: {in_own_words(error)}"
        ) from error
    if size > MAX_COMMAND_BYTES:
        what = f"is sent a request of {size} bytes, more than {MAX_COMMAND_BYTES}: keep what is large elsewhere"
        raise InvalidCommand(command.step_name(), what)


async def run_child(step: Step, call: ChildCall, parent: Parent | None) -> Any:
    """Start the child and return its result. Raises Rejected where it undid itself, StepFailed where nobody knows."""
    command = cast("ChildSaga", step.command)
    armed = LostStep(key=step.dispatch_key, command_type=command.spec.name, command=content_of(command))
    try:
        child = await workflow.start_child_workflow(
            call.run,
            call.request,
            id=command.saga_id,
            task_queue=call.task_queue,
            cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            # A parent that is terminated is recovered, and its child undoes itself if there still is a way back.
            parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            memo={CHILD: armed} | ({PARENT: parent} if parent else {}),
        )
        raw: RawValue = await child
    except (ChildWorkflowError, WorkflowAlreadyStartedError) as error:
        raise _failure(step, error) from error
    try:
        return workflow.payload_converter().from_payload(raw.payload, result_type(call.run))
    except Exception as error:
        raise StepFailed(step.key, f"its result cannot be read: {in_own_words(error)}") from error


def result_type(run: Callable[..., Any]) -> Any:
    """The type that a saga's run method declares to return; `object` where it declares none."""
    return get_type_hints(run).get("return", object)


def _failure(step: Step, error: ChildWorkflowError | WorkflowAlreadyStartedError) -> CounteractError:
    """Rejected where the child undid itself, which proves that nothing is left of it.

    Else StepFailed, which proves nothing: the child's own record is asked later.
    """
    cause = error.cause if isinstance(error, ChildWorkflowError) else None
    if isinstance(cause, ApplicationError) and cause.type == COMPENSATED:
        return Rejected(storable_text(cause.message))
    return StepFailed(step.key, in_own_words(cause or error))

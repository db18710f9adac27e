"""Lets a saga decide what a cancellation request means for it: stop, or go on because there is no way back.

And carries where a dispatch's sender stands, beside the dispatch, from the saga to the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from counteract.commands import MAX_COMMAND_BYTES
from counteract.errors import SagaClosed, SagaMisuse
from counteract.lifecycle import CHILD, PARENT
from counteract.messages import Dispatch, Standing
from counteract.saga import unopened
from counteract.saga.arguments import checked
from counteract.saga.continue_as_new import MEMO, MEMO_RECORD, parent_of_this
from counteract.saga.course import IN_HANDLER
from counteract.saga.failure import Interruption, is_passed_over, is_saga_failure, not_completed, told_by
from counteract.saga.tasks import to_the_end
from counteract.saga.workflow import SagaWorkflow

STANDING = "counteract-standing"
"""The header of an activity that says where its sender stands."""


class SagaInterceptor(Interceptor):
    """Runs the bodies of saga workflows in a task of their own; leaves other workflows alone."""

    def workflow_interceptor_class(self, _: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """The interceptor of the workflows of a worker."""
        return _SagaInbound

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """The interceptor of the activities of a worker."""
        return _StepInbound(next)


class _StepInbound(ActivityInboundInterceptor):
    async def execute_activity(self, call: ExecuteActivityInput) -> Any:
        standing = call.headers.get(STANDING)
        if standing is not None and len(call.args) > 1 and isinstance(call.args[1], Dispatch):
            command, dispatch, *more = call.args
            told = {"standing": standing_in(standing), "attempt": activity.info().attempt}
            call.args = [command, dispatch.model_copy(update=told), *more]
        return await super().execute_activity(call)


def standing_in(header: Payload) -> Standing:
    """The standing of the sender of the activity that runs, as its header has it."""
    said: Standing = activity.payload_converter().from_payload(header, Standing)
    info = activity.info()
    own = {"namespace": said.namespace or info.workflow_namespace, "who": said.who or info.workflow_run_id}
    return said.model_copy(update=own)


class _SagaInbound(WorkflowInboundInterceptor):
    _body: asyncio.Task[Any] | None = None
    """The task of the workflow's own code."""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_SagaOutbound(outbound))

    async def execute_workflow(self, call: ExecuteWorkflowInput) -> Any:
        instance = workflow.instance()
        if not isinstance(instance, SagaWorkflow):
            return await super().execute_workflow(call)
        call.args = checked(call.run_fn, workflow.info().workflow_type, call.args)
        instance._intercepted = True
        self._body = asyncio.create_task(super().execute_workflow(call))
        result = await self._answered_for(instance, self._body)
        if instance._saga_run is not None and instance._saga_run.under_way:
            raise SagaMisuse("the workflow returns while its saga is open: await whatever the `async with` stands in")
        if parent_of_this() is not None:
            await _answer_parent(instance)
        return result

    async def _answered_for(self, instance: SagaWorkflow, body: asyncio.Task[Any]) -> Any:
        """The result of the code. Undoes a saga that its run continues, and that failing code has not opened.

        Raises SagaMisuse where the code returns without that saga.
        """
        unopened.stop_code(instance, body)
        try:
            result = await _attended(instance, body)
        except BaseException as failure:
            if is_saga_failure(failure):
                if unopened.is_unopened(instance):
                    await to_the_end(unopened.turn_back(instance, failure))
                _raise_one(failure)
            if is_passed_over(failure):
                raise RuntimeError(
                    f"the workflow's code ended with {type(failure).__name__}, which Temporal takes no notice of: raise an Exception, and "
                    "continue as new outside of a task group"
                ) from failure
            raise
        if unopened.is_unopened(instance):
            if unopened.is_stopped(instance):
                await to_the_end(unopened.turn_back(instance, asyncio.CancelledError()))
            raise SagaMisuse(
                "the workflow returns without the saga that its run before has begun: open it with "
                "`async with self.saga()` in every run, until the one that ends it"
            )
        return result

    async def handle_signal(self, call: HandleSignalInput) -> None:
        """A step that fails in a signal's handler fails the saga, which undoes it; the SDK would fail the workflow."""
        IN_HANDLER.set(True)
        try:
            call.args = _checked_for("signals", call.signal, call.args)
        except ApplicationError as error:
            # There is nobody to tell: a signal has no answer.
            workflow.logger.warning("%s: it is dropped", error.message)
            return
        try:
            await super().handle_signal(call)
        except (Exception, BaseExceptionGroup, asyncio.CancelledError) as failure:
            if not is_saga_failure(failure):
                raise
            if _came_too_late(failure):
                workflow.logger.warning("the signal %s came too late: %s", call.signal, told_by(failure))
            elif not self._is_taken_note_of(failure):
                _raise_one(failure)

    def _is_taken_note_of(self, failure: BaseException) -> bool:
        """Whether it is the saga's concern that the handler of a signal failed."""
        instance = workflow.instance()
        saga = instance._saga_run if isinstance(instance, SagaWorkflow) else None
        is_stopped = isinstance(failure, asyncio.CancelledError | CancelledError)
        if saga is not None and is_stopped:
            # Its step was asked to stop, with the saga.
            return True
        if saga is not None and saga.under_way:
            saga.interrupt(Interruption.HANDLER, failure)
            return True
        if is_stopped or not isinstance(instance, SagaWorkflow) or not unopened.is_unopened(instance):
            return False
        unopened.stop(instance, self._body, Interruption.HANDLER, failure)
        return True

    async def handle_query(self, call: HandleQueryInput) -> Any:
        answer = await super().handle_query(call)
        instance = workflow.instance()
        if isinstance(answer, WorkflowMetadata) and isinstance(instance, SagaWorkflow) and instance._saga_run:
            # Made when it is asked for: the table is as long as the saga, and few look at it.
            answer.current_details = answer.current_details or instance._saga_run.display.details
        return answer

    def handle_update_validator(self, call: HandleUpdateInput) -> None:
        call.args = _checked_for("updates", call.update, call.args)
        super().handle_update_validator(call)

    async def handle_update_handler(self, call: HandleUpdateInput) -> Any:
        IN_HANDLER.set(True)
        call.args = _checked_for("updates", call.update, call.args)
        try:
            return await super().handle_update_handler(call)
        except BaseExceptionGroup as failures:
            if is_saga_failure(failures):
                _raise_one(failures)
            raise


def _raise_one(failure: BaseException) -> NoReturn:
    """End a handler or the workflow with one failure of a group: the SDK takes the group itself for a bug, and would fail the task
    again and again.
    """
    told = told_by(failure)
    if told is not failure:
        told.__cause__ = told.__cause__ or failure
    raise told


def _came_too_late(failure: BaseException) -> bool:
    if isinstance(failure, SagaClosed):
        return True
    # The old branch can go once no saga is kept whose signal came past its pivot, and had its steps in a task group.
    return isinstance(told_by(failure), SagaClosed) and workflow.patched(
        "counteract: a group of steps that come too late"
    )


class _SagaOutbound(WorkflowOutboundInterceptor):
    _said: tuple[Standing, Payload] | None = None
    """The last standing that was sent, and how it is written."""

    def start_activity(self, call: StartActivityInput) -> workflow.ActivityHandle[Any]:
        dispatch = call.args[1] if len(call.args) > 1 else None
        if isinstance(dispatch, Dispatch) and dispatch.standing is not None:
            call.headers = {**call.headers, STANDING: self._written(dispatch.standing)}
        return self.next.start_activity(call)

    def _written(self, standing: Standing) -> Payload:
        if self._said is None or self._said[0] is not standing:
            info = workflow.info()
            # Without what its activity says anyway: the history keeps it with every step.
            plain = {
                name
                for name, own in (("namespace", info.namespace), ("who", info.run_id))
                if getattr(standing, name) == own
            }
            said = standing.model_dump(mode="json", exclude_defaults=True, exclude=plain)
            self._said = standing, workflow.payload_converter().to_payload(said)
        return self._said[1]

    async def start_child_workflow(self, call: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:
        if CHILD in (call.memo or {}):
            # Read in the saga, like any step's answer.
            call.ret_type = RawValue
        return await self.next.start_child_workflow(call)

    def continue_as_new(self, call: ContinueAsNewInput) -> NoReturn:
        instance = workflow.instance()
        if isinstance(instance, SagaWorkflow):
            carried, record = unopened.handed_on(instance)
            # A memo of the code's own takes the place of the run's; whose child the saga is stays.
            known = workflow.memo()
            kept = {key: known[key] for key in (PARENT, CHILD) if key in known}
            call.memo = {**kept, **(known if call.memo is None else call.memo), MEMO: carried}
            if record is not None:
                call.memo = {**call.memo, MEMO_RECORD: record}
            _check_fits(call.memo)
        self.next.continue_as_new(call)


def _check_fits(memo: Mapping[str, Any]) -> None:
    """Raises SagaMisuse for more than a workflow can be told at its start, while nothing is lost."""
    size = sum(len(each.data) for each in workflow.payload_converter().to_payloads(list(memo.values())))
    # The old branch can go once no run is kept that continued so on a release without it.
    if size > MAX_COMMAND_BYTES and workflow.patched("counteract: what a saga takes along is measured"):
        raise SagaMisuse(
            f"what the saga takes along to its next run has {size} bytes, more than {MAX_COMMAND_BYTES}: it holds all "
            "its commands, so keep what is large in them elsewhere, or let the steps be those of child sagas"
        )


def _checked_for(kind: Literal["signals", "updates"], name: str, given: Sequence[Any]) -> Sequence[Any]:
    """The arguments as the saga's class declares them; a handler that it does not declare takes what it is given."""
    saga = workflow.instance()
    if not isinstance(saga, SagaWorkflow):
        return given
    # What the SDK gives for a name takes any arguments, and passes them on.
    declared = workflow._Definition.must_from_class(type(saga))
    handler = (declared.signals if kind == "signals" else declared.updates).get(name)
    return checked(handler.fn, f"{kind[:-1]} {name}", given) if handler else given


async def _answer_parent(instance: SagaWorkflow) -> None:
    """See that there is a record for the parent of a child whose code has returned.

    Raises what the child ends with if it did not complete.
    """
    if unopened.is_none(instance):
        await to_the_end(unopened.complete(instance))
    if (saga := instance._saga_run) is not None and not saga.course.is_completed:
        # Its parent counts on what it did, whatever its own code made of its failure.
        raise not_completed(saga.display.report())


async def _attended(instance: SagaWorkflow, body: asyncio.Task[Any]) -> Any:
    """The result of the body, waited for in the workflow's main task, which Temporal cancels.

    The body is cancelled only where that may stop it.
    """
    while not body.done():
        try:
            await workflow.wait([body])
        except asyncio.CancelledError:
            saga = instance._saga_run
            if saga is not None and saga.under_way:
                saga.interrupt(Interruption.CANCELLED)
            elif saga is None or not saga.stands:
                if unopened.is_unopened(instance):
                    unopened.stop(instance, body, Interruption.CANCELLED)
                else:
                    body.cancel()
            else:
                # Everything stands: an end as Cancelled would say otherwise.
                workflow.logger.warning("the saga had completed when it was cancelled: it goes on to its end")
    return body.result()

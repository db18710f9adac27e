"""Lets a saga decide what a cancellation request means for it: stop, or go on because there is no way back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from counteract.lifecycle import CHILD
from counteract.saga.arguments import checked
from counteract.saga.carrying import MEMO, Carried
from counteract.saga.failing import Interruption, is_saga_failure
from counteract.saga.workflow import SagaWorkflow


class SagaInterceptor(Interceptor):
    """Runs the bodies of saga workflows in a task of their own; leaves other workflows alone."""

    def workflow_interceptor_class(self, _: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _SagaInbound


class _SagaInbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_SagaOutbound(outbound))

    async def execute_workflow(self, call: ExecuteWorkflowInput) -> Any:
        instance = workflow.instance()
        if not isinstance(instance, SagaWorkflow):
            return await super().execute_workflow(call)
        call.args = checked(call.run_fn, workflow.info().workflow_type, call.args)
        instance._intercepted = True
        return await _attended(instance, asyncio.create_task(super().execute_workflow(call)))

    async def handle_signal(self, call: HandleSignalInput) -> None:
        """A step that fails in a signal's handler fails the saga, which undoes it; the SDK would fail the workflow."""
        try:
            call.args = _checked_for("signals", call.signal, call.args)
        except ApplicationError as error:
            # There is nobody to tell: a signal has no answer.
            workflow.logger.warning("%s: it is dropped", error.message)
            return
        try:
            await super().handle_signal(call)
        except Exception as failure:
            instance = workflow.instance()
            saga = instance._saga if isinstance(instance, SagaWorkflow) else None
            if saga is None or not saga.under_way or not is_saga_failure(failure):
                raise
            saga.interrupt(Interruption.HANDLER, failure)

    def handle_update_validator(self, call: HandleUpdateInput) -> None:
        call.args = _checked_for("updates", call.update, call.args)
        super().handle_update_validator(call)

    async def handle_update_handler(self, call: HandleUpdateInput) -> Any:
        call.args = _checked_for("updates", call.update, call.args)
        return await super().handle_update_handler(call)


class _SagaOutbound(WorkflowOutboundInterceptor):
    async def start_child_workflow(self, call: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:
        if CHILD in (call.memo or {}):
            # Read in the saga, like any step's answer.
            call.ret_type = RawValue
        return await self.next.start_child_workflow(call)

    def continue_as_new(self, call: ContinueAsNewInput) -> NoReturn:
        instance = workflow.instance()
        if isinstance(instance, SagaWorkflow):
            carried = instance._saga.carry() if instance._saga else Carried()
            memo = workflow.memo() if call.memo is None else call.memo
            call.memo = {**memo, MEMO: carried}
        self.next.continue_as_new(call)


def _checked_for(kind: Literal["signals", "updates"], name: str, given: Sequence[Any]) -> Sequence[Any]:
    """The arguments of a handler that the saga's class declares; others, and those of any name, take what they are given."""
    saga = workflow.instance()
    if not isinstance(saga, SagaWorkflow):
        return given
    # What the SDK gives for a name takes any arguments, and passes them on.
    declared = workflow._Definition.must_from_class(type(saga))
    handler = (declared.signals if kind == "signals" else declared.updates).get(name)
    return checked(handler.fn, f"{kind[:-1]} {name}", given) if handler else given


async def _attended(instance: SagaWorkflow, body: asyncio.Task[Any]) -> Any:
    """Temporal cancels the workflow's main task: this one. The body is cancelled only where that may stop it."""
    while not body.done():
        try:
            await workflow.wait([body])
        except asyncio.CancelledError:
            saga = instance._saga
            if saga is None or not saga.under_way:
                body.cancel()
            else:
                saga.interrupt(Interruption.CANCELLED)
    return body.result()

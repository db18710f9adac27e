"""The explorer's hand in the workflow: it shortens time, and sends all steps to the explorer's own worker."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle, ChildWorkflowHandle

from counteract.messages import Command, Dispatch
from counteract.participants.handlers import Role
from counteract.saga.failure import Interruption
from counteract.saga.interceptor import STANDING
from counteract.testing.exploration.additions import take_additions
from counteract.testing.exploration.attendant import attend
from counteract.testing.exploration.faults import Place, Timing
from counteract.testing.exploration.requirements import shortcomings
from counteract.testing.exploration.run import DEADLINE_SIGNAL, Run
from counteract.testing.exploration.services import STANDING_OF_CALL

FIRST_RETRY = timedelta(milliseconds=20)
LAST_RETRY = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class ExploringInterceptor(Interceptor):
    """Leaves the saga's code, its commands and the engine as they are: only what is sent to the server differs."""

    runs: Mapping[str, Run]
    queue: str

    def intercept_activity(self, following: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activities(following)

    def workflow_interceptor_class(self, _: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        explored = self

        class Inbound(_Inbound):
            runs = explored.runs
            queue = explored.queue

        return Inbound


class _Activities(ActivityInboundInterceptor):
    async def execute_activity(self, call: ExecuteActivityInput) -> Any:
        """The engine's own interceptor hands it to handlers that it knows: the explorer answers for those."""
        STANDING_OF_CALL.set(call.headers.get(STANDING))
        return await super().execute_activity(call)


class _Inbound(WorkflowInboundInterceptor):
    runs: Mapping[str, Run]
    queue: str

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound, self.runs, self.queue))

    async def execute_workflow(self, call: ExecuteWorkflowInput) -> Any:
        instance, run = workflow.instance(), self.runs.get(workflow.info().workflow_id)
        if run is None:
            return await super().execute_workflow(call)

        def pass_deadline() -> None:
            if instance._saga_run is not None:
                # What the saga's own timer calls.
                instance._saga_run.interrupt(Interruption.DEADLINE)

        workflow.set_signal_handler(DEADLINE_SIGNAL, pass_deadline)
        attend(instance, run)
        take_additions(instance, run)
        return await failing_once(run, super().execute_workflow(call))


class _Outbound(WorkflowOutboundInterceptor):
    def __init__(self, following: WorkflowOutboundInterceptor, runs: Mapping[str, Run], queue: str) -> None:
        super().__init__(following)
        self._runs = runs
        self._queue = queue

    def start_activity(self, call: StartActivityInput) -> ActivityHandle[Any]:
        command, dispatch = call.args if len(call.args) == 2 else (None, None)
        if not isinstance(dispatch, Dispatch) or not isinstance(command, Command):
            return self.next.start_activity(call)
        if (run := self._runs.get(dispatch.saga_id)) is None:
            return self.next.start_activity(call)
        place = place_of(type(command), dispatch, call.activity)
        for each in shortcomings(call, command, dispatch, place):
            run.complain(each)
        if (own := workflow.info().workflow_id) != run.id:
            run.others.setdefault(own)
        run.commands[dispatch.command_id] = command
        call.task_queue = self._queue
        shorten(call, run.fault.timing_of(place), run.pace.patience)
        flight = self.next.start_activity(call)
        if place.role is Role.HANDLES:
            run.flights[id(command)].append(flight)
        return flight

    async def start_child_workflow(self, call: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        """Nobody would carry it out here, and the saga would wait for ever."""
        if (run := self._runs.get(workflow.info().workflow_id)) is None:
            return await self.next.start_child_workflow(call)
        why = f"it starts {call.workflow} as a child, and exploration knows no children: explore {call.workflow} by itself"
        run.complain(why)
        raise ApplicationError(why, non_retryable=True)


async def failing_once(run: Run, body: Coroutine[Any, Any, Any]) -> Any:
    """As code of the user's outside of the saga's block may: the workflow's first attempt fails however its saga ended."""
    if not run.fault.retried or workflow.info().attempt > 1:
        return await body
    try:
        await body
    except FailureError as failure:
        raise ApplicationError("explore: failed after its saga had ended") from failure
    raise ApplicationError("explore: failed after its saga had ended")


def place_of(command: type[Command[Any]], dispatch: Dispatch, activity: str) -> Place:
    """A step that a person had tried again is still the same place."""
    spec = command.spec
    roles = {spec.compensation: Role.COMPENSATES, spec.settlement: Role.SETTLES, spec.name: Role.HANDLES}
    return Place(dispatch.step.partition("~")[0], roles[activity])


def shorten(call: StartActivityInput, timing: Timing, least: timedelta) -> None:
    """The user's own limits where the fault asks for nothing else, or `least`; between two attempts never a long wait."""
    call.start_to_close_timeout = timing.attempt or _at_least(least, call.start_to_close_timeout)
    call.schedule_to_close_timeout = timing.total or _at_least(least, call.schedule_to_close_timeout)
    call.heartbeat_timeout = timing.heartbeat or _at_least(least / 2, call.heartbeat_timeout)
    policy = call.retry_policy or RetryPolicy()
    call.retry_policy = RetryPolicy(
        initial_interval=min(policy.initial_interval, FIRST_RETRY),
        backoff_coefficient=policy.backoff_coefficient,
        maximum_interval=min(policy.maximum_interval or LAST_RETRY, LAST_RETRY),
        maximum_attempts=timing.attempts or policy.maximum_attempts,
        non_retryable_error_types=policy.non_retryable_error_types,
    )


def _at_least(least: timedelta, given: timedelta | None) -> timedelta | None:
    return given and max(given, least)

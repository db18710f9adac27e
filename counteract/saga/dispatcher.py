"""From a step to a Temporal activity: its id, its options, and where its sender stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityHandle

from counteract.commands import check_storable, content_of, summary_of
from counteract.errors import ConfigurationError, InvalidCommand
from counteract.lifecycle import SETTLE_CHILD, SETTLE_CHILD_RECORD, Parent
from counteract.messages import Command, CommandSpec, Dispatch, Outcome, Retry, Role, Standing, command_id_of
from counteract.options import check_duration, limit_problems, limits
from counteract.saga.answers import UnreadableAnswer
from counteract.saga.children import ChildCall, ChildSaga, check_fits, check_request
from counteract.saga.ledger import Step
from counteract.saga.tasks import AT_ONCE
from counteract.saga.words import in_own_words

_UNTIL_IT_SUCCEEDS = Retry(maximum=timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class Park:
    """`on_failure=Park(timeout=…)`: a step that fails waits for a person before the saga turns back.

    Meanwhile the saga is STUCK and holds what it has; the `resolve` update says `retry` (as it was, or corrected),
    `skip` (with a result to go on with) or `fail`. After `timeout`, or once the saga is cancelled or its deadline has
    passed, the step has failed as it would have without it.
    """

    timeout: timedelta

    def __post_init__(self) -> None:
        check_duration("a Park is declared wrongly", "timeout", self.timeout)


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of one call, which override those of its command."""

    attempt_timeout: timedelta | None = None
    timeout: timedelta | None = None
    retry: Retry | None = None
    on_failure: Park | None = None
    child: ChildCall | None = None
    tolerates_refusals: bool = False
    at_once: int = AT_ONCE

    def applied_to(self, spec: CommandSpec) -> CommandSpec:
        """The settings of a command, with those of the call in their place."""
        if not (self.attempt_timeout or self.timeout or self.retry):
            return spec
        attempt, all_ = self.attempt_timeout or spec.attempt_timeout, self.timeout or spec.timeout
        if self.timeout is None:
            # Longer attempts need no longer timeout to be named with them, as in a declaration.
            all_ = max(all_, limits(attempt, None)[1]) if attempt > all_ else all_
        return replace(spec, attempt_timeout=min(attempt, all_), timeout=all_, retry=self.retry or spec.retry)

    def check(self, command: Command[Any]) -> None:
        """Raises InvalidCommand for limits that no server would take.

        An attempt that may take longer than all together is no such limit: the server shortens it.
        """
        if self.attempt_timeout is None and self.timeout is None:
            return
        problems = [*limit_problems(self.attempt_timeout, None), *limit_problems(None, self.timeout)]
        if problems:
            raise InvalidCommand(command.step_name(), "; ".join(problems))


def check_sendable(commands: Sequence[Command[Any]], options: Options) -> None:
    """Raises InvalidCommand, before anything is armed, for what no service could store, or no server would take."""
    try:
        for command in commands:
            options.check(command)
            check_storable(command)
            if isinstance(command, ChildSaga):
                check_fits(command)
            if options.child is not None:
                check_request(command, options.child)
    except InvalidCommand:
        # A saga that sent such a command before there was this check goes on as it did. The old branch can go once no
        # saga is under way that began on a release without it.
        if workflow.patched("counteract: commands are checked before they are sent"):
            raise


@dataclass(slots=True)
class Dispatcher:
    """Sends steps, their undo and their settlement to the workers of their services."""

    saga_id: str
    saga_type: str
    run_id: str
    """The first run of the execution, which continue-as-new, retries and resets keep."""
    namespace: str = ""
    who: str = ""
    """The run that sends."""
    epoch: int | None = None
    """None while nothing is on record: what is sent then is held against nothing."""
    _forward: Standing | None = None

    @classmethod
    def of_this_workflow(cls) -> Dispatcher:
        """The dispatcher of the saga that the running workflow is, before anything is on record."""
        info = workflow.info()
        return cls(info.workflow_id, info.workflow_type, info.first_execution_run_id, info.namespace, info.run_id)

    def id_of(self, what: str) -> UUID:
        """The id of a command: the same for the same saga and `what`, in every replay."""
        return command_id_of(self.saga_id, self.run_id, what)

    def as_parent_of(self, step: Step) -> Parent | None:
        """The step that a child saga is, as it is told; None where no record is kept."""
        if self.epoch is None:
            return None
        return Parent(
            command_id=self.id_of(step.dispatch_key),
            saga_id=self.saga_id,
            run_id=self.run_id,
            epoch=self.epoch,
            key=step.dispatch_key,
            command=content_of(step.command),
        )

    def forward(
        self, step: Step, options: Options, counted: Mapping[str, Any] | None = None
    ) -> ActivityHandle[RawValue]:
        """Send the step. `counted`, for a pivot, is what the saga counts on: the store holds it against its record."""
        spec = options.applied_to(step.command.spec)
        standing = self._standing(Role.FORWARD, **(counted or {}))
        return self._start(spec.name, step.command, self._dispatch(step.dispatch_key, standing), spec)

    def undo(self, step: Step, timeout: timedelta, role: Role) -> ActivityHandle[RawValue]:
        """Send the step's undo, tried for `timeout`, or for as long as one attempt may take where that is more.

        `role`: whether the saga turns back with it, or goes on without the step.
        """
        answered = step.outcome is Outcome.APPLIED
        standing = self._standing(role, sent=True, answered=answered, corrected=step.corrected)
        dispatch = self._undo_dispatch(step.dispatch_key, standing)
        if isinstance(step.command, ChildSaga):
            # A command like any other: the child's own were fenced, if at all, when it undid itself.
            command = _undo_of(step, step.command)
            spec = _until_it_succeeds(command.spec, command.spec.attempt_timeout, timeout)
            return self._start(spec.name, command, dispatch.model_copy(update={"undoes": None}), spec, prefix="undo ")
        spec = step.command.spec
        patience = max(spec.undo_attempt_timeout, step.attempt_timeout or spec.undo_attempt_timeout)
        spec = _until_it_succeeds(spec, patience, timeout)
        if spec.compensation is None:
            raise ValueError(f"{step.key} has no compensation")
        return self._start(spec.compensation, step.command, dispatch, spec, prefix="undo ")

    def settle(self, pivot: Step, timeout: timedelta) -> ActivityHandle[RawValue]:
        """Ask whether the pivot took effect, and bar it if it did not; tried as an undo is."""
        spec = _until_it_succeeds(pivot.command.spec, pivot.command.spec.attempt_timeout, timeout)
        if spec.settlement is None:
            raise ValueError(f"{pivot.key} is undone, and not settled")
        standing = self._standing(Role.SETTLE, sent=True, answered=pivot.outcome is Outcome.APPLIED)
        dispatch = self._undo_dispatch(pivot.dispatch_key, standing)
        return self._start(spec.settlement, pivot.command, dispatch, spec, prefix="settle ")

    def settle_child(self, step: Step, child: ChildSaga, timeout: timedelta) -> ActivityHandle[RawValue]:
        """Ask whether a child saga has completed, for `timeout`: it is answered once the child has ended."""
        arguments: list[Any] = [child.saga_id, self.saga_id]
        if self.epoch is not None:
            arguments += [child.saga_type, self.id_of(step.dispatch_key)]
        return workflow.start_activity(
            SETTLE_CHILD if self.epoch is None else SETTLE_CHILD_RECORD,
            args=arguments,
            activity_id=f"settle {step.dispatch_key}",
            result_type=RawValue,
            start_to_close_timeout=timedelta(seconds=10),
            schedule_to_close_timeout=timeout,
            retry_policy=_retry_policy(_UNTIL_IT_SUCCEEDS),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )

    def _standing(self, role: Role, **more: Any) -> Standing | None:
        if self.epoch is None:
            return None
        if role is Role.FORWARD and not more and self._forward and self._forward.epoch == self.epoch:
            # Most steps stand where the one before stood: it is made, and written, once.
            return self._forward
        standing = Standing(namespace=self.namespace, epoch=self.epoch, who=self.who, role=role, **more)
        if role is Role.FORWARD and not more:
            self._forward = standing
        return standing

    def _dispatch(self, key: str, standing: Standing | None) -> Dispatch:
        return Dispatch(
            command_id=self.id_of(key),
            saga_id=self.saga_id,
            saga_type=self.saga_type,
            step=key,
            correlation_id=self.saga_id,
            causation_id=self.run_id,
            standing=standing,
        )

    def _undo_dispatch(self, key: str, standing: Standing | None) -> Dispatch:
        forward = self._dispatch(key, standing)
        return forward.model_copy(update={"command_id": self.id_of(f"undo {key}"), "undoes": forward.command_id})

    def _start(
        self, activity: str, command: Command[Any], dispatch: Dispatch, spec: CommandSpec, *, prefix: str = ""
    ) -> ActivityHandle[RawValue]:
        return workflow.start_activity(
            activity,
            args=[command, dispatch],
            activity_id=prefix + dispatch.step,
            task_queue=spec.service,
            # Read in the saga: an answer that cannot be read would fail the workflow from outside, with nothing undone.
            result_type=RawValue,
            start_to_close_timeout=spec.attempt_timeout,
            # Without it an activity that no worker knows, or whose result is too large, is retried for ever unseen.
            schedule_to_close_timeout=spec.timeout,
            # The engine heartbeats for every handler: a lost worker is noticed early, and a cancellation arrives.
            heartbeat_timeout=spec.attempt_timeout / 2,
            retry_policy=_retry_policy(spec.retry),
            # By default the undo would run while the activity still runs.
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=summary_of(command),
        )


def _undo_of(step: Step, child: ChildSaga) -> Command[Any]:
    """The command that undoes the child. Raises UnreadableAnswer where it does not fit its class any more, or its name is
    that of no class here, or of more than one.
    """
    try:
        return child.compensation
    except (ValidationError, ConfigurationError) as error:
        # The old branch can go once no run is kept that failed so on a release without it.
        if not workflow.patched("counteract: an undo of a child that cannot be read waits for a person"):
            raise
        raise UnreadableAnswer(step.key, f"what undoes it cannot be read: {in_own_words(error)}") from error


def _until_it_succeeds(spec: CommandSpec, attempt_timeout: timedelta, timeout: timedelta) -> CommandSpec:
    """Settings of what is tried for `timeout`, or for as long as one attempt may take where that is more."""
    return replace(
        spec, retry=_UNTIL_IT_SUCCEEDS, attempt_timeout=attempt_timeout, timeout=max(timeout, attempt_timeout)
    )


def _retry_policy(retry: Retry) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=retry.initial,
        backoff_coefficient=retry.backoff,
        maximum_interval=retry.maximum,
        maximum_attempts=retry.attempts or 0,
    )

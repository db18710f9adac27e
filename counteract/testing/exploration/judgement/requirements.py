"""Requirements on how every activity is sent: without them it depends on luck whether the protocol is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from temporalio.common import RetryPolicy
from temporalio.worker import StartActivityInput
from temporalio.workflow import ActivityCancellationType

from counteract.messages import Command, CommandKind, Dispatch
from counteract.participants.handlers import Role
from counteract.testing.exploration.faults import Place

_PREFIX = {Role.HANDLES: "", Role.COMPENSATES: "undo ", Role.SETTLES: "settle "}


def shortcomings(call: StartActivityInput, command: Command[Any], dispatch: Dispatch, place: Place) -> Iterator[str]:
    """The requirements that this call does not meet, as it is before exploration shortens its limits."""
    spec, policy = command.spec, call.retry_policy or RetryPolicy()
    wanted: dict[str, tuple[object, object]] = {
        "the task queue": (call.task_queue, spec.service),
        "the activity id": (call.activity_id, _PREFIX[place.role] + dispatch.step),
        "the summary": (call.summary, command.summary()),
    }
    if place.role is not Role.HANDLES:
        wanted["the time limit of an attempt"] = (call.start_to_close_timeout, spec.attempt_timeout)
        wanted["the number of attempts"] = (policy.maximum_attempts, 0)
    elif command.kind is CommandKind.RETRIABLE:
        wanted["the number of attempts"] = (policy.maximum_attempts, 0)
    for what, (actual, expected) in wanted.items():
        if actual != expected:
            yield f"{place} was sent with {actual!r} as {what}, not {expected!r}"
    if call.schedule_to_close_timeout is None:
        yield f"{place} was sent without a time limit: where no worker knows it, nobody would ever hear"
    if call.heartbeat_timeout is None:
        yield f"{place} was sent without heartbeats: no cancellation arrives, and a lost worker is noticed late"
    if call.cancellation_type is not ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
        yield f"{place} may go on while the saga takes it for cancelled"

"""Replays histories against today's code, and compares what every activity would be sent.

Temporal's own replayer compares the order and the types of what a workflow does, but not the arguments: a saga that
would now charge another amount replays without a complaint there.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.worker import (
    Interceptor,
    Replayer,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from counteract.errors import CounteractError
from counteract.plugin import CounteractPlugin
from counteract.saga.converter import data_converter

Sent = dict[str, list[tuple[str, list[Any]]]]
"""Activity types and arguments (as JSON values) by activity id, in the order in which they were scheduled."""


class ReplayFailed(CounteractError):
    """Today's code would not do what was recorded: put the change behind a patch, or deploy it as a new version."""

    def __init__(self, workflow_id: str, differences: Sequence[str]) -> None:
        super().__init__(f"{workflow_id} does not replay:" + "".join(f"\n  - {each}" for each in differences))
        self.workflow_id = workflow_id
        self.differences = tuple(differences)


async def replay(history: WorkflowHistory, workflows: Sequence[type]) -> None:
    """Run one recorded history through today's code. Raises ReplayFailed."""
    watch = _Watch()
    replayer = Replayer(workflows=workflows, plugins=[CounteractPlugin()], interceptors=[watch])
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    before = _recorded(history)
    differences = list(_differences(before, watch.sent))
    if result.replay_failure is not None:
        differences += [*_other_step(list(before), list(watch.sent)), str(result.replay_failure)]
    if differences:
        raise ReplayFailed(history.workflow_id, differences)


@dataclass(frozen=True, slots=True)
class _Watch(Interceptor):
    """Notes what the workflow would send."""

    sent: Sent = field(default_factory=lambda: defaultdict(list))

    def workflow_interceptor_class(self, _: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        sent = self.sent

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, call: StartActivityInput) -> ActivityHandle[Any]:
                payloads = data_converter.payload_converter.to_payloads(call.args)
                sent[call.activity_id or ""].append((call.activity, [_json(each.data) for each in payloads]))
                return self.next.start_activity(call)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound


def _recorded(history: WorkflowHistory) -> Sent:
    sent: Sent = defaultdict(list)
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            arguments = [_json(each.data) for each in scheduled.input.payloads]
            sent[scheduled.activity_id].append((scheduled.activity_type.name, arguments))
    return sent


def _differences(before: Sent, now: Sent) -> Iterator[str]:
    """Of the activities that both know, what each would be sent."""
    for step, calls in before.items():
        for (activity, arguments), (activity_now, arguments_now) in zip(calls, now.get(step, []), strict=False):
            if activity == activity_now:
                yield from _changes(step, arguments, arguments_now)


def _other_step(before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    """Temporal notices that steps were added, left out or moved, but does not say which."""
    for old, new in zip_longest(before, now):
        if old is None:
            yield f"{new} would be begun now, and was not when recorded"
        elif new is None:
            yield f"{old} was begun when recorded, and would not be now"
        elif old != new:
            yield f"{old} was begun when recorded, where now {new} would be"
        if old != new:
            return


def _changes(where: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _changes(f"{where}.{name}", before.get(name), now.get(name))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for n, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _changes(f"{where}[{n}]", old, new)
    elif before != now:
        yield f"{where} was {json.dumps(before)} when recorded, and would now be {json.dumps(now)}"


def _json(data: bytes) -> Any:
    return json.loads(data) if data else None

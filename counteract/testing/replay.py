"""Replays histories against today's code, and compares what every activity would be sent.

Temporal's own replayer compares the order and the types of what a workflow does, but not the arguments: a saga that
would now charge another amount replays there without an error. The arguments of local activities are in no history.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from temporalio import workflow
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import (
    Interceptor,
    Plugin,
    Replayer,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle, Info

from counteract.errors import CounteractError
from counteract.plugin import CounteractPlugin
from counteract.saga.converter import data_converter
from counteract.testing.histories import RecordedHistory
from counteract.testing.sent import Sent, plain, recorded_locally, sent_by
from counteract.testing.unordered import changes, with_sets


class ReplayFailed(CounteractError):
    """Today's code would not do what was recorded: put the change behind a patch, or deploy it as a new version."""

    def __init__(self, workflow_id: str, differences: Sequence[str]) -> None:
        super().__init__(f"{workflow_id} does not replay:" + "".join(f"\n  - {each}" for each in differences))
        self.workflow_id = workflow_id
        self.differences = tuple(differences)


async def replay(history: WorkflowHistory, workflows: Sequence[type], *, client: Client | None = None) -> None:
    """Run one recorded history through today's code.

    `workflows` are the classes of workflows, of which one is the history's. `client` is the application's own, whose
    converter, codec, plugins and interceptors are used; it need not be connected (`lazy=True`). A history that `record`
    returned brings the client by which it came.

    Raises ReplayFailed where the code would do something else, and UnreadableHistory where the client lacks the codec.
    """
    if client is None and isinstance(history, RecordedHistory):
        client = history.client
    before = await sent_by(history, client)
    watch = _Watch(_run_of(history))
    replayer = Replayer(
        workflows=workflows,
        namespace=client.namespace if client else "default",
        data_converter=client.data_converter if client else data_converter,
        plugins=_plugins(client),
        interceptors=[*_interceptors(client), watch],
    )
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    differences = list(_differences(before, watch.sent))
    if result.replay_failure is not None:
        differences += _other_step(list(before), list(watch.sent))
        differences += _other_step(recorded_locally(history), watch.sent_locally)
        differences.append(str(result.replay_failure))
    if differences:
        raise ReplayFailed(history.workflow_id, differences)


@dataclass(frozen=True, slots=True)
class _Watch(Interceptor):
    """Notes what the workflow would send. `run_id` is the id of the run, where the replayer would not know it."""

    run_id: str | None
    sent: Sent = field(default_factory=lambda: defaultdict(list))
    sent_locally: list[str] = field(default_factory=list)

    def workflow_interceptor_class(self, _: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        watch = self

        class Outbound(WorkflowOutboundInterceptor):
            def info(self) -> Info:
                info = self.next.info()
                return dataclasses.replace(info, run_id=watch.run_id) if watch.run_id else info

            def start_activity(self, call: StartActivityInput) -> ActivityHandle[Any]:
                payloads = workflow.payload_converter().to_payloads(call.args)
                arguments = [with_sets(value, plain(each)) for value, each in zip(call.args, payloads, strict=True)]
                watch.sent[call.activity_id or call.activity].append((call.activity, arguments))
                return self.next.start_activity(call)

            def start_local_activity(self, call: StartLocalActivityInput) -> ActivityHandle[Any]:
                watch.sent_locally.append(call.activity_id or call.activity)
                return self.next.start_local_activity(call)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound


def _run_of(history: WorkflowHistory) -> str | None:
    """The id of a run that a reset began: the replayer gives the id of the run that was reset in its place.

    A saga that was reset looks up what became of its steps, and knows that it was by these two ids.
    """
    cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
    failed = (each.workflow_task_failed_event_attributes for each in history.events)
    return next((each.new_run_id for each in [*failed][::-1] if each.cause == cause), None)


def _plugins(client: Client | None) -> list[Plugin]:
    """The plugins that a worker would take from this client, with the engine's own."""
    configured: Sequence[object] = client.config()["plugins"] if client else ()
    found = [each for each in configured if isinstance(each, Plugin)]
    return found if any(isinstance(each, CounteractPlugin) for each in found) else [*found, CounteractPlugin()]


def _interceptors(client: Client | None) -> list[Interceptor]:
    return [each for each in client.config()["interceptors"] if isinstance(each, Interceptor)] if client else []


def _differences(before: Sent, now: Sent) -> Iterator[str]:
    """The differences between what each activity was sent and would be sent, for those that both know."""
    for step, calls in before.items():
        for (activity, arguments), (activity_now, arguments_now) in zip(calls, now.get(step, []), strict=False):
            if activity == activity_now:
                yield from changes(step, arguments, arguments_now)


def _other_step(before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    """The first step that was added, left out or moved, which Temporal notices but does not name."""
    for old, new in zip_longest(before, now):
        if old is None:
            yield f"{new} would be begun now, and was not when recorded"
        elif new is None:
            yield f"{old} was begun when recorded, and would not be now"
        elif old != new:
            yield f"{old} was begun when recorded, where now {new} would be"
        if old != new:
            return

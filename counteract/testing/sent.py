"""Reads what a recorded workflow sent its activities, in plain JSON, with a codec's work undone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    MarkerRecordedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import (
    ActivitySerializationContext,
    CompositePayloadConverter,
    SerializationContext,
    WorkflowSerializationContext,
)

from counteract.saga.converter import data_converter
from counteract.testing.histories import UnreadableHistory

Sent = dict[str, list[tuple[str, list[Any]]]]
"""Activity types and arguments (as JSON values) by name, in the order in which they were scheduled.

A name is the activity's id, as sagas give one to each step; of those that the SDK numbers, it is the type.
"""

_LOCAL = "core_local_activity"
"""The name of the marker by which the SDK records the end of a local activity."""


async def sent_by(history: WorkflowHistory, client: Client | None) -> Sent:
    """The activities that the workflow sent. Raises UnreadableHistory where the client does not have the codec."""
    started = history.events[0].workflow_execution_started_event_attributes
    reader = _Reader(history.workflow_id, started, client)
    await reader.read(started.input.payloads, reader.of_workflow())
    sent: Sent = defaultdict(list)
    for event in history.events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            scheduled = event.activity_task_scheduled_event_attributes
            arguments = await reader.read(scheduled.input.payloads, reader.of_activity(scheduled))
            is_numbered = scheduled.activity_id.isdecimal()
            name = scheduled.activity_type.name if is_numbered else scheduled.activity_id
            sent[name].append((scheduled.activity_type.name, list(map(plain, arguments))))
    return sent


def recorded_locally(history: WorkflowHistory) -> list[str]:
    """The ids of the local activities, in the order in which they were begun."""
    markers = [each.marker_recorded_event_attributes for each in history.events]
    local = [_local(each) for each in markers if each.marker_name == _LOCAL]
    return [each["activity_id"] for each in sorted(local, key=lambda each: each["seq"])]


def plain(payload: Payload) -> Any:
    """The payload's value as far as it is JSON; other data as text that is the same for the same data."""
    if payload.metadata.get("encoding", b"").startswith(b"json/"):
        return json.loads(payload.data)
    return payload.data.hex() or None


def _local(marker: MarkerRecordedEventAttributes) -> dict[str, Any]:
    # The SDK's own, which no codec sees.
    local: dict[str, Any] = json.loads(marker.details["data"].payloads[0].data)
    return local


class _Reader:
    def __init__(
        self, workflow_id: str, started: WorkflowExecutionStartedEventAttributes, client: Client | None
    ) -> None:
        self._id = workflow_id
        self._type = started.workflow_type.name
        self._namespace = client.namespace if client else "default"
        self._converter = client.data_converter if client else data_converter

    async def read(self, payloads: Sequence[Payload], context: SerializationContext) -> Sequence[Payload]:
        codec = self._converter.with_context(context).payload_codec
        try:
            found = await codec.decode(payloads) if codec else payloads
        except Exception as error:
            raise UnreadableHistory(
                f"{self._id} cannot be decoded: {type(error).__name__}: {error}: replay it with the codec that encoded it"
            ) from error
        self._refuse_unknown({each.metadata.get("encoding", b"") for each in found})
        return found

    def of_workflow(self) -> SerializationContext:
        return WorkflowSerializationContext(namespace=self._namespace, workflow_id=self._id)

    def of_activity(self, scheduled: ActivityTaskScheduledEventAttributes) -> SerializationContext:
        return ActivitySerializationContext(
            namespace=self._namespace,
            activity_id=scheduled.activity_id,
            activity_type=scheduled.activity_type.name,
            activity_task_queue=scheduled.task_queue.name,
            workflow_id=self._id,
            workflow_type=self._type,
            is_local=False,
        )

    def _refuse_unknown(self, encodings: set[bytes]) -> None:
        converter = self._converter.payload_converter_class()
        if isinstance(converter, CompositePayloadConverter) and (others := encodings - converter.converters.keys()):
            names = ", ".join(sorted(each.decode(errors="replace") for each in others))
            raise UnreadableHistory(
                f"{self._id} is encoded ({names}): replay it with the application's client, which has the codec: "
                '`[tool.counteract] client = "module:function"` in pyproject.toml, or replay(…, client=…)'
            )

"""The saga's lifecycle events, written by local activities of the orchestrator's own worker: exactly once each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from counteract.lifecycle import (
    RECORD_LIFECYCLE,
    LifecycleEvent,
    LifecycleRecord,
    SagaCompensated,
    SagaCompleted,
)
from counteract.saga.dispatching import Dispatcher
from counteract.storable import storable_text


@dataclass(frozen=True, slots=True)
class Chronicle:
    """Writes to the stream `saga/<workflow id>`."""

    _dispatcher: Dispatcher
    written: Counter[str] = field(default_factory=Counter)

    async def record(self, kind: type[LifecycleEvent], **fields: Any) -> int:
        """Append one event; its position. A replayed or repeated write has the same event id, and so does nothing."""
        # What people and their code say must not keep a saga from being on record.
        said: dict[str, Any] = {
            name: storable_text(each) if isinstance(each, str) else each for name, each in fields.items()
        }
        event = kind(saga_type=self._dispatcher.saga_type, run_id=self._dispatcher.run_id, **said)
        name = self._name(kind)
        position: int | None = await workflow.execute_local_activity(
            RECORD_LIFECYCLE,
            LifecycleRecord(
                event_id=self._dispatcher.id_of(name),
                saga_id=self._dispatcher.saga_id,
                event_type=kind.event_type,
                data=event.model_dump(mode="json"),
            ),
            result_type=int,
            start_to_close_timeout=timedelta(seconds=10),
            activity_id=name,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=10)
            ),
        )
        # Workers of earlier releases answered nothing.
        return position or 0

    def _name(self, kind: type[LifecycleEvent]) -> str:
        """What the event id is made of: all ends share one, so that the store itself keeps a saga from ending twice."""
        if issubclass(kind, SagaCompleted | SagaCompensated):
            return "end"
        self.written[kind.event_type] += 1
        # A saga and its recovery each count their own.
        return f"{kind.event_type} {self.written[kind.event_type]} of {workflow.info().workflow_id}"

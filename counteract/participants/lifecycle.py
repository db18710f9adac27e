"""Records the lifecycle events of sagas in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio import activity

from counteract.lifecycle import RECORD_LIFECYCLE, LifecycleRecord, sagas
from counteract.store import ANY, PostgresEventStore


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Gives `CounteractPlugin` the local activities of the orchestrator's workers."""

    store: PostgresEventStore

    def activities(self) -> Sequence[Any]:
        return [self.record]

    @activity.defn(name=RECORD_LIFECYCLE)
    async def record(self, record: LifecycleRecord) -> None:
        """Append it; again with the same event id: nothing."""
        event = sagas.by_name[record.event_type, 1].model_validate(record.data)
        await self.store.append(
            sagas.stream(record.saga_id),
            [event],
            expect=ANY,
            event_ids=[record.event_id],
            metadata={"correlation_id": record.saga_id, "saga": record.saga_id},
        )

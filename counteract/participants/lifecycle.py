"""Records the lifecycle events of sagas in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from temporalio import activity

from counteract.errors import EventIdReused
from counteract.lifecycle import (
    FIND_LOST_SAGAS,
    FIND_SENT,
    FIND_UNDONE,
    RECORD_LIFECYCLE,
    SETTLE_CHILD,
    LifecycleRecord,
    LostSaga,
    LostStep,
    sagas,
)
from counteract.participants.children import child_completed
from counteract.participants.recovery import lost_sagas, sent
from counteract.store import ANY, PostgresEventStore

_UNDONE = "select command_id from commands where command_id = any (%s) and status = 'done'"


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Gives `CounteractPlugin` the local activities of the orchestrator's workers."""

    store: PostgresEventStore

    def activities(self) -> Sequence[Any]:
        return [self.record, self.find_lost, self.find_undone, self.find_sent, self.settle_child]

    @activity.defn(name=RECORD_LIFECYCLE)
    async def record(self, record: LifecycleRecord) -> int | None:
        """Append it; its position. What has the same event id and came before stands: a saga ends once, whoever ends it."""
        event = sagas.readers[record.event_type, 1].event_class.model_validate(record.data)
        try:
            appended = await self.store.append(
                sagas.stream(record.saga_id),
                [event],
                expect=ANY,
                event_ids=[record.event_id],
                metadata={"correlation_id": record.saga_id, "saga": record.saga_id},
            )
        except EventIdReused:
            activity.logger.warning("%s is not recorded: %s has ended before", record.event_type, record.saga_id)
            return None
        return appended.position

    @activity.defn(name=FIND_LOST_SAGAS)
    async def find_lost(self, include_forgotten: bool) -> list[LostSaga]:
        """What `RecoverSagas` is to recover."""
        return await lost_sagas(activity.client(), self.store, include_forgotten=include_forgotten)

    @activity.defn(name=FIND_UNDONE)
    async def find_undone(self, undo_ids: list[UUID]) -> list[UUID]:
        """Those of the undos that are on record."""
        async with self.store.connection() as connection:
            rows = await connection.execute(_UNDONE, (undo_ids,))
            return [row[0] for row in await rows.fetchall()]

    @activity.defn(name=FIND_SENT)
    async def find_sent(self, run_id: str) -> list[LostStep]:
        """What the saga that asks has sent out in all of its runs; `run_id` is the first one's."""
        saga_id, last_run = activity.info().workflow_id, activity.info().workflow_run_id
        return await sent(activity.client(), self.store, str(saga_id), run_id, last_run)

    @activity.defn(name=SETTLE_CHILD)
    async def settle_child(self, saga_id: str, parent_id: str) -> bool:
        """Whether the child saga has completed. Fails, to be asked again, while it has not ended."""
        return await child_completed(activity.client(), self.store, saga_id, parent_id)

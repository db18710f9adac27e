"""The activities by which sagas, recovery and people read and write what the store knows of a saga."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from temporalio import activity

from counteract.errors import EventIdReused
from counteract.lifecycle import (
    CLAIM_SAGA,
    END_OPEN_RUN,
    ENDED,
    FETCH_COMMAND,
    FETCH_SKIP,
    FETCH_STATE,
    FIND_LATE,
    FIND_LOST,
    FIND_LOST_SAGAS,
    FIND_SENT,
    FIND_STEPS,
    FIND_UNDONE,
    FIND_UNRECORDED,
    FIND_WITHOUT_RECORD,
    RECORD_LIFECYCLE,
    SETTLE_CHILD,
    SETTLE_CHILD_RECORD,
    SKIP_STEP,
    TAKE_UP_SAGA,
    Claimed,
    Ended,
    LateEffect,
    LifecycleRecord,
    Lost,
    LostSaga,
    LostStep,
    Opened,
    Opening,
    Page,
    RecordedStep,
    SagaStuck,
    Skip,
    sagas,
)
from counteract.messages import Event
from counteract.observability import count_claim, count_found, count_late_effects
from counteract.participants.children import child_completed, child_settled
from counteract.participants.recovery import end_open_run, last_run_on_record, late_effects, lost_page
from counteract.participants.sagas import SagaRecords
from counteract.participants.sent import sent, unrecorded
from counteract.participants.unknown import without_record
from counteract.store import ANY, PostgresEventStore

_UNDONE = "select command_id from commands where command_id = any (%(undos)s) and status = 'done'"


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The activities of workers that run sagas, for `CounteractPlugin`: they record events, and move records."""

    store: PostgresEventStore

    def activities(self) -> Sequence[Any]:
        """The activities by which sagas, recovery and people read and write records.

        The plugin gives them to the worker.
        """
        of_sagas = [self.record, self.take_up, self.find_steps, self.fetch_command, self.fetch_state]
        of_children = [self.settle_child_record]
        of_people = [self.skip_step, self.fetch_skip]
        of_recovery = [self.find_lost, self.claim, self.end_open_run, self.find_unrecorded]
        of_recovery += [self.find_without_record, self.find_late]
        of_the_release_before = [self.find_lost_sagas, self.find_undone, self.find_sent, self.settle_child]
        return [*of_sagas, *of_children, *of_people, *of_recovery, *of_the_release_before]

    @activity.defn(name=RECORD_LIFECYCLE)
    async def record(self, record: LifecycleRecord) -> Opened | Ended | int | None:
        """Append a lifecycle event. Returns what the saga's record says of the first and the last, else the position.

        An event of the same id that came before stands: a saga ends once, whoever ends it, and is not stuck after that.
        None: nothing was recorded, since the saga had ended.
        """
        event = sagas.readers[record.event_type, 1].event_class.model_validate(record.data)
        namespace = activity.info().workflow_namespace or ""
        records = SagaRecords(self.store)
        if record.opening is not None:
            return await records.open(record, record.opening, event, namespace)
        state = await records.state(record.saga_id, event.run_id) if isinstance(event, SagaStuck) else None
        if state in ("completed", "compensated"):
            # A run that a reset began afterwards: what its code does is told to whoever asks for its result.
            return Ended(position=0, state=state)
        try:
            if record.event_type not in ("SagaCompleted", "SagaCompensated"):
                return await self._append(record, event)
            ended = await records.end(record, event, namespace)
        except EventIdReused:
            activity.logger.warning("%s is not recorded: %s has ended before", record.event_type, record.saga_id)
            return None
        return ended if record.ending is not None else ended.position

    async def _append(self, record: LifecycleRecord, event: Event) -> int:
        try:
            return await self._append_as(record.event_id, record, event)
        except EventIdReused:
            # The run forgot with its workflow task what it had said, and says something else now: both are on record.
            said = uuid5(record.event_id, json.dumps(record.data, sort_keys=True))
            return await self._append_as(said, record, event)

    async def _append_as(self, event_id: UUID, record: LifecycleRecord, event: Event) -> int:
        appended = await self.store.append(
            sagas.stream(record.saga_id),
            [event],
            expect=ANY,
            event_ids=[event_id],
            metadata={"correlation_id": record.saga_id, "saga": record.saga_id},
        )
        return appended.position

    @activity.defn(name=TAKE_UP_SAGA)
    async def take_up(self, saga_id: str, opening: Opening) -> Opened:
        """Take up the record of a saga for a further run."""
        return await SagaRecords(self.store).take_up(saga_id, opening, activity.info().workflow_namespace or "")

    @activity.defn(name=FIND_STEPS)
    async def find_steps(self, saga_id: str, run_id: str, offset: int, limit: int) -> list[RecordedStep]:
        """The saga's commands as the store has them: at most `limit`, from `offset` on."""
        return await SagaRecords(self.store).steps(saga_id, run_id, offset, limit)

    @activity.defn(name=FETCH_COMMAND)
    async def fetch_command(self, command_id: UUID) -> Mapping[str, Any]:
        """The content of a command, as it was recorded."""
        return await SagaRecords(self.store).command(command_id)

    @activity.defn(name=FETCH_STATE)
    async def fetch_state(self, saga_id: str, run_id: str) -> str | None:
        """The state of the saga's record. None where there is none."""
        return await SagaRecords(self.store).state(saga_id, run_id)

    @activity.defn(name=SKIP_STEP)
    async def skip_step(self, skip: Skip) -> None:
        """Put on record what a person gave up: it binds whoever carries the saga on."""
        await SagaRecords(self.store).skip(skip)

    @activity.defn(name=FETCH_SKIP)
    async def fetch_skip(self, skip_id: UUID) -> Any:
        """The result that a saga goes on with in the place of a step that a person gave up."""
        return await SagaRecords(self.store).skipped(skip_id)

    @activity.defn(name=SETTLE_CHILD_RECORD)
    async def settle_child_record(self, saga_id: str, parent_id: str, saga_type: str, parent_command: UUID) -> bool:
        """Whether the child saga has completed. Fails, to be asked again, while it has not ended."""
        return await child_settled(activity.client(), self.store, saga_id, parent_id, saga_type, parent_command)

    @activity.defn(name=FIND_LOST)
    async def find_lost(self, after: tuple[str, str, str] | None, include_forgotten: bool) -> Page:
        """The next page of the sagas whose record has no end and whose workflow nobody carries on."""
        page = await lost_page(activity.client(), self.store, after, include_forgotten=include_forgotten)
        count_found("lost", len(page.lost))
        count_found("left", len(page.left))
        return page

    @activity.defn(name=CLAIM_SAGA)
    async def claim(self, lost: Lost) -> Claimed | None:
        """Turn a lost saga back on record, unless it has gone on or has ended; the state that stands.

        None without a record.
        """
        who = str(activity.info().workflow_id)
        why = f"its workflow was {lost.how}"
        records = SagaRecords(self.store)
        if lost.is_without_record:
            await records.remember(lost, activity.client().namespace)
        claimed = await records.claim(lost.saga_id, lost.run_id, who=who, why=why)
        if claimed is not None:
            count_claim(claimed.state)
        return claimed

    @activity.defn(name=END_OPEN_RUN)
    async def end_open_run(self, lost: Lost) -> bool:
        """End the open run of a claimed saga, which nobody else is to carry on.

        Returns whether a saga that is not claimed is carried on, or has ended meanwhile.
        """
        state = await SagaRecords(self.store).state(lost.saga_id, lost.run_id)
        if state is None or state in ENDED:
            return True
        is_claimed = state == "turning back"
        return await end_open_run(activity.client(), self.store, lost.saga_id, lost.run_id, is_claimed=is_claimed)

    @activity.defn(name=FIND_UNRECORDED)
    async def find_unrecorded(self, lost: Lost) -> list[LostStep]:
        """The commands that the saga's histories know, and the store does not."""
        client = activity.client()
        last = await last_run_on_record(client, self.store, lost.saga_id, lost.run_id)
        return await unrecorded(client, self.store, lost, last.run_id if last else None)

    @activity.defn(name=FIND_WITHOUT_RECORD)
    async def find_without_record(self, restored_to: str, token: str | None = None) -> Page:
        """The next page of the sagas that began after `restored_to` (UTC), of which the store has no record."""
        page = await without_record(activity.client(), self.store, restored_to, token)
        count_found("lost", len(page.lost))
        return page

    @activity.defn(name=FIND_LATE)
    async def find_late(self, late_since: str | None = None, command_id: UUID | None = None) -> list[LateEffect]:
        """The next page of effects that came after their undo, after the one with this time and command id."""
        found = await late_effects(self.store, activity.client().namespace, late_since, command_id)
        count_late_effects(len(found))
        return found

    # What histories of the release before ask for, until none of them is open any more.

    @activity.defn(name=FIND_LOST_SAGAS)
    async def find_lost_sagas(self, include_forgotten: bool) -> list[LostSaga]:
        """No saga: the next round goes by the records."""
        return []

    @activity.defn(name=FIND_UNDONE)
    async def find_undone(self, undo_ids: list[UUID]) -> list[UUID]:
        """The ones among these undos that are on record as done."""
        async with self.store.connection() as connection:
            rows = await connection.execute(_UNDONE, {"undos": undo_ids})
            return [row[0] for row in await rows.fetchall()]

    @activity.defn(name=FIND_SENT)
    async def find_sent(self, run_id: str) -> list[LostStep]:
        """The commands that the asking saga has sent out in all of its runs; `run_id` is the first one's."""
        saga_id, last_run = activity.info().workflow_id, activity.info().workflow_run_id
        return await sent(activity.client(), self.store, str(saga_id), run_id, last_run)

    @activity.defn(name=SETTLE_CHILD)
    async def settle_child(self, saga_id: str, parent_id: str) -> bool:
        """Whether a child saga of the release before has completed.

        Fails, to be asked again, while it has not ended.
        """
        return await child_completed(activity.client(), self.store, saga_id, parent_id)

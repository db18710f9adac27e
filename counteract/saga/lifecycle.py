"""The saga's lifecycle events, written by local activities of the orchestrator's own worker: exactly once each.

The first and the last go together with what the saga's record says (`record.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy

from counteract.lifecycle import (
    RECORD_LIFECYCLE,
    Ended,
    Ending,
    LifecycleEvent,
    LifecycleRecord,
    Opened,
    Opening,
    SagaCompensated,
    SagaCompleted,
    SagaStarted,
)
from counteract.saga.dispatcher import Dispatcher
from counteract.storable import storable_text

# Workers of earlier releases answered a position, or nothing. Made once: for each saga it would cost what a step costs.
_ANSWER: TypeAdapter[Opened | Ended | int | None] = TypeAdapter(Opened | Ended | int | None)


@dataclass(frozen=True, slots=True)
class Chronicle:
    """Writes to the stream `saga/<workflow id>`."""

    _dispatcher: Dispatcher
    written: Counter[str] = field(default_factory=Counter)

    async def open(self, opening: Opening) -> Opened | None:
        """Write the first event, and open the saga's record. None in a history of a release that kept no record."""
        self.written[SagaStarted.event_type] = 1
        # The same name in every run: whether it is the first one, the store knows.
        name = f"{SagaStarted.event_type} 1 of {workflow.info().workflow_id}"
        answer = await self._write(name, name, SagaStarted, {}, opening=opening)
        return answer if isinstance(answer, Opened) else None

    async def end(self, kind: type[LifecycleEvent], ending: Ending | None, **fields: Any) -> Ended | int:
        """Write the last event, and end the record. The answer of the release before was a position.

        All ends share one name, so that the store keeps a saga from ending twice.
        """
        name = "end"
        # Asked again, because the store said otherwise.
        self.written[name] += 1
        asked = name if self.written[name] == 1 else f"{name} {self.written[name]}"
        answer = await self._write(asked, name, kind, fields, ending=ending)
        return answer if isinstance(answer, Ended | int) else 0

    async def record(self, kind: type[LifecycleEvent], **fields: Any) -> str | None:
        """Append one event. A replayed or repeated write has the same event id, and so does nothing.

        Returns what the saga has come to, where the event is not on record because the saga has ended; else None, as
        always from a release before.
        """
        if issubclass(kind, SagaStarted | SagaCompleted | SagaCompensated):
            raise TypeError(f"{kind.__name__} goes with the saga's record")
        self.written[kind.event_type] += 1
        # A saga and its recovery each count their own, and so does each run: what a person decides after a reset is
        # another decision.
        info = workflow.info()
        name = f"{kind.event_type} {self.written[kind.event_type]} of {info.workflow_id}"
        event = name if info.run_id == info.first_execution_run_id else f"{name} in {info.run_id}"
        answer = await self._write(name, event, kind, fields)
        return answer.state if isinstance(answer, Ended) else None

    async def _write(
        self, name: str, event_name: str, kind: type[LifecycleEvent], fields: dict[str, Any], **about: Any
    ) -> Opened | Ended | int | None:
        # What people and their code say must not keep a saga from being on record.
        said: dict[str, Any] = {
            name: storable_text(each) if isinstance(each, str) else each for name, each in fields.items()
        }
        event = kind(saga_type=self._dispatcher.saga_type, run_id=self._dispatcher.run_id, **said)
        answer: RawValue = await workflow.execute_local_activity(
            RECORD_LIFECYCLE,
            LifecycleRecord(
                event_id=self._dispatcher.id_of(event_name),
                saga_id=self._dispatcher.saga_id,
                event_type=kind.event_type,
                data=event.model_dump(mode="json"),
                **about,
            ),
            result_type=RawValue,
            start_to_close_timeout=timedelta(seconds=10),
            activity_id=name,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=10)
            ),
        )
        return _ANSWER.validate_json(answer.payload.data) if answer.payload.data else None

"""Steps and undos that people gave up: it is put on record, and binds whichever run or recovery carries the saga on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RetryPolicy

from counteract.commands import content_of
from counteract.lifecycle import FETCH_SKIP, SKIP_STEP, GivenUp, RecordedStep, Skip
from counteract.saga.answers import Settled
from counteract.saga.children import ChildSaga
from counteract.saga.dispatcher import Dispatcher
from counteract.saga.ledger import Step, name_of, tries_of
from counteract.saga.resolution import Resolution, reading
from counteract.saga.tasks import to_the_end
from counteract.storable import storable_text

_WRITE: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=10)),
}


@dataclass(slots=True)
class Skips:
    """The skips of one saga, as far as this run has read its record."""

    dispatcher: Dispatcher
    known: dict[str, GivenUp] = field(default_factory=dict)
    """The skipped part, the step or its undo, by the key under which the step was sent."""

    def learn(self, steps: Mapping[str, RecordedStep]) -> None:
        """Read from the recorded steps, by their keys, what was given up."""
        self.known = {key: step.given_up for key, step in steps.items() if step.given_up is not None}

    def is_undo_given_up(self, step: Step) -> bool:
        """Whether the undo of the step was given up, on record."""
        return self.known.get(step.dispatch_key) == "undo"

    def latest(self, step: Step) -> int | None:
        """The number of tries that a person had asked for when the step was given up; None where it was not."""
        tries = [tries_of(key) for key, what in self.known.items() if what == "step" and name_of(key) == step.key]
        return max((each for each in tries if each >= step.retries), default=None)

    async def result_of(self, step: Step) -> Settled[Any] | None:
        """The result that the saga goes on with; None where it does not fit the step's declaration any more."""
        row, read = self._row(step.dispatch_key, "step"), reading(step)
        result = await to_the_end(workflow.execute_local_activity(FETCH_SKIP, row, result_type=object, **_WRITE))
        try:
            return Settled(happened=False, result=read(result))
        except ValidationError:
            return None

    async def put(self, step: Step, decision: Resolution, what: GivenUp) -> None:
        """Put a person's decision on record, which a run of the release before did not."""
        key = step.dispatch_key
        # The old branch can go once no saga is under way that was skipped by a release without it.
        if self.dispatcher.epoch is None or not workflow.patched(f"counteract: the skip of {what} {key} is on record"):
            return
        spec = step.command.spec
        undo = step.command.compensation.spec if isinstance(step.command, ChildSaga) else spec
        skip = Skip(
            what=what,
            saga_id=self.dispatcher.saga_id,
            saga_type=self.dispatcher.saga_type,
            run_id=self.dispatcher.run_id,
            epoch=self.dispatcher.epoch,
            key=key,
            command_id=self.dispatcher.id_of(key),
            skip_id=self._row(key, what),
            kind=step.kind,
            command_type=spec.name,
            activity=undo.name if step.is_child else str(spec.compensation or spec.settlement),
            service=undo.service,
            is_child=step.is_child,
            child=content_of(step.command) if step.is_child else None,
            who=storable_text(decision.who),
            why=storable_text(decision.why),
            result=decision.result,
        )
        await to_the_end(workflow.execute_local_activity(SKIP_STEP, skip, activity_id=f"skip {what} {key}", **_WRITE))

    def _row(self, key: str, what: GivenUp) -> Any:
        """The id of the row that says so: for an undo that of the undo itself, so that nobody begins it again."""
        return self.dispatcher.id_of(f"undo {key}" if what == "undo" else f"skip {key}")

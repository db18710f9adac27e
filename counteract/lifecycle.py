"""What a saga reports of itself to the event store, in the stream `saga/<workflow id>`: exactly one terminal event each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from counteract.decider import Decider
from counteract.messages import Event, Message

RECORD_LIFECYCLE = "RecordLifecycle"
"""The local activity that records a lifecycle event."""
FIND_LOST_SAGAS = "FindLostSagas"
"""The activity that finds the sagas that began, have not ended, and have no open workflow."""

FIND_UNDONE = "FindUndoneCommands"
"""The local activity that finds out which of a saga's commands have been undone."""
FIND_SENT = "FindSentCommands"
"""The activity that finds what all runs of a saga have sent out, those that a reset put an end to included."""
SETTLE_CHILD = "SettleChildSaga"
"""The activity that finds out whether a child saga of whose end nobody heard has completed."""
CHILD = "counteract child"
"""The memo by which the recovery of a lost parent knows what its child was, and how it is undone: a `LostStep`."""


class SagaEvent(Event):
    """What every lifecycle event says."""

    saga_type: str
    run_id: str
    """The first run of the execution: a workflow id may be used again."""


class SagaStarted(SagaEvent):
    """The saga began."""


class SagaCompleted(SagaEvent):
    """It reached its end: everything it set out to do is done."""

    steps: tuple[str, ...]


class SagaCompensated(SagaEvent):
    """It did not get past its pivot, and every step that took effect, or may have, was undone (or skipped, as listed)."""

    cause: str
    undone: tuple[str, ...]
    skipped: tuple[str, ...]


class SagaStuck(SagaEvent):
    """It cannot go on by itself: the `resolve` update decides."""

    step: str
    why: str


class SagaResolved(SagaEvent):
    """A person decided how it goes on."""

    step: str
    decision: str
    who: str
    why: str


class LifecycleRecord(Message):
    """The argument of the local activity."""

    event_id: UUID
    saga_id: str
    event_type: str
    data: dict[str, object]


class LostStep(Message):
    """One command that a saga sent out, and that nobody may remember."""

    key: str
    command_type: str
    service: str | None = None
    """None: written by a release that did not say."""
    command: dict[str, object]


class LostSaga(Message):
    """A saga that nobody carries on."""

    saga_id: str
    saga_type: str
    run_id: str
    how: str
    """What became of its workflow, such as "terminated"."""
    steps: tuple[LostStep, ...]


LifecycleEvent = SagaStarted | SagaCompleted | SagaCompensated | SagaStuck | SagaResolved


@dataclass(frozen=True, slots=True)
class SagaProgress:
    """The runs under one workflow id, counted."""

    started: int = 0
    completed: int = 0
    compensated: int = 0


def _evolve(progress: SagaProgress, event: LifecycleEvent) -> SagaProgress:
    match event:
        case SagaStarted():
            return replace(progress, started=progress.started + 1)
        case SagaCompleted():
            return replace(progress, completed=progress.completed + 1)
        case SagaCompensated():
            return replace(progress, compensated=progress.compensated + 1)
        case SagaStuck() | SagaResolved():
            return progress
        case _:
            assert_never(event)


sagas = Decider("saga", initial=SagaProgress(), evolve=_evolve, events=LifecycleEvent)

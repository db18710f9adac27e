"""Lifecycle events of sagas, and the messages by which their records are read and moved.

A saga writes its events to the stream `saga/<workflow id>`; exactly one of them ends it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, assert_never
from uuid import UUID

from pydantic import ConfigDict, Field

from counteract.decider import Decider
from counteract.messages import CommandKind, Event, Message

RECORD_LIFECYCLE = "RecordLifecycle"
"""The local activity that records a lifecycle event, and with the first and the last one moves the saga's record."""
TAKE_UP_SAGA = "TakeUpSaga"
"""The local activity by which a further run takes up the saga's record."""
FIND_STEPS = "FindSteps"
"""The local activity that reads the saga's commands, a page at a time."""
FETCH_COMMAND = "FetchCommand"
"""The local activity that reads one command as it was recorded."""
FETCH_STATE = "FetchState"
"""The local activity that reads what a saga has come to, as its record says."""
SKIP_STEP = "SkipStep"
"""The local activity that puts on record that a person gave up a step, or its undo."""
FETCH_SKIP = "FetchSkip"
"""The local activity that reads what a saga goes on with in the place of a step that was given up."""
FIND_LOST = "FindLost"
"""The activity that finds the sagas that nobody carries on, a page at a time."""
CLAIM_SAGA = "ClaimSaga"
"""The activity by which recovery turns a lost saga back, unless it has gone on in between."""
END_OPEN_RUN = "EndOpenRun"
"""The activity that ends whatever run of a claimed saga is open."""
FIND_UNRECORDED = "FindUnrecorded"
"""The activity that finds what a lost saga's histories sent and the store has no row of."""
FIND_WITHOUT_RECORD = "FindWithoutRecord"
"""The activity that finds lost sagas of which the store, restored to an earlier time, has no record."""
FIND_LATE = "FindLate"
"""The activity that finds the effects that came after their undo, and have not been undone again."""

FIND_LOST_SAGAS = "FindLostSagas"
"""The activity that rounds of the release before ask for lost sagas: it finds none any more."""

FIND_UNDONE = "FindUndoneCommands"
"""The local activity that finds out which of a saga's commands have been undone."""
FIND_SENT = "FindSentCommands"
"""The activity that finds what all runs of a saga have sent out, those that a reset put an end to included."""
SETTLE_CHILD = "SettleChildSaga"
"""The activity that finds out whether a child saga of whose end nobody heard has completed."""
SETTLE_CHILD_RECORD = "SettleChildRecord"
"""The activity that finds out by the child's record whether a child saga of whose end nobody heard has completed."""
ENDED = ("completed", "compensated", "never")
"""The states of a record whose saga is over."""
PARENT = "counteract parent"
"""The memo by which a child saga knows which step of its parent it is: a `Parent`."""
CHILD = "counteract child"
"""The memo by which the recovery of a lost parent knows what its child was, and how it is undone: a `LostStep`."""


class SagaEvent(Event):
    """Base of the lifecycle events."""

    saga_type: str
    run_id: str
    """The first run of the execution: a workflow id may be used again."""


class SagaStarted(SagaEvent):
    """The saga began."""


class SagaCompleted(SagaEvent):
    """The saga reached its end: everything it set out to do is done."""

    steps: tuple[str, ...]
    """The steps that were carried out, without those that a person had the saga go on without."""


class SagaCompensated(SagaEvent):
    """The saga did not get past its pivot: all that took effect, or may have, was undone (or skipped, as listed)."""

    cause: str
    undone: tuple[str, ...]
    skipped: tuple[str, ...]


class SagaStuck(SagaEvent):
    """The saga cannot go on by itself: the `resolve` update decides."""

    step: str
    why: str


class SagaResolved(SagaEvent):
    """A person decided how the saga goes on."""

    step: str
    decision: str
    who: str
    why: str


class Parent(Message):
    """The step of its parent that a child saga is."""

    model_config = ConfigDict(extra="ignore")

    command_id: UUID
    saga_id: str
    run_id: str
    """The parent's first run."""
    epoch: int
    key: str
    command: dict[str, object]
    """The command as the parent's ledger has it."""


class Opening(Message):
    """The run that takes up the saga's record; comes with the first event."""

    run_id: str
    """The first run of the execution."""
    this_run: str
    saga_type: str
    parent: Parent | None = None


class Ending(Message):
    """The end that a saga is to have, and what it counts on; comes with the last event."""

    run_id: str
    saga_type: str
    state: Literal["completed", "compensated"]
    epoch: int
    who: str
    why: str | None = None
    done: tuple[UUID, ...] = ()
    """Commands that took effect, and stand."""
    keys: tuple[str, ...] = ()
    """The steps of those, in the same order."""
    children: tuple[UUID, ...] = ()
    """Steps of child sagas that completed, and stand."""
    child_keys: tuple[str, ...] = ()
    """The keys of `children`, in the same order."""
    child_ids: tuple[str, ...] = ()
    """The workflow ids of `children`, in the same order."""
    skipped: tuple[UUID, ...] = ()
    """Commands that a person gave up."""


class LifecycleRecord(Message):
    """A lifecycle event to record: the argument of `RecordLifecycle`."""

    event_id: UUID
    saga_id: str
    event_type: str
    data: dict[str, object]
    opening: Opening | None = None
    ending: Ending | None = None


class Opened(Message):
    """The record of a saga as a run finds it."""

    position: int
    is_new: bool
    """Whether this run begins the saga."""
    run_id: str
    """The saga's first run: another workflow's, where a child had begun before under the same command of its parent."""
    state: str
    epoch: int
    this_run: str
    """The run that asked: a history that is kept by a reset has the answer to another one."""


class Ended(Message):
    """The record of a saga once the saga has asked to end."""

    position: int
    state: str
    contradicted: tuple[str, ...] = ()
    """The steps by which the store says otherwise; where there are any, nothing has ended."""


GivenUp = Literal["step", "undo"]
"""The part of a step that a person gave up: all of it, so that the saga goes on with something else, or its undo."""


class RecordedStep(Message):
    """One command of a saga, as the store has it."""

    key: str
    command_type: str
    service: str
    command_id: UUID
    status: str
    is_begun: bool
    """An external effect began: whether it took effect is unknown unless the status says so."""
    is_undone: bool
    """Whether it is being undone, or has been: its answer counts no more."""
    is_concluded: bool
    """Its undo, or its settlement, is on record."""
    given_up: GivenUp | None = None
    """The part of the step that a person gave up, and takes over."""

    @property
    def may_have_applied(self) -> bool:
        """Whether it took effect, or may have, and no undo of it is on record."""
        in_doubt = self.status == "started" or (self.status == "fenced" and self.is_begun)
        return (self.status == "done" or in_doubt) and not self.is_concluded

    @property
    def counts(self) -> bool:
        """Whether it was answered, and the answer stands."""
        return self.status == "done" and not self.is_undone


class Skip(Message):
    """A person's decision to give up a step, or the undo of one."""

    what: GivenUp
    saga_id: str
    saga_type: str
    run_id: str
    """The saga's first run."""
    epoch: int
    key: str
    command_id: UUID
    """The id of the step's command."""
    skip_id: UUID
    """The id of the row that says so: the undo's own, where that is what was given up."""
    kind: CommandKind
    command_type: str
    activity: str
    """The activity that was to undo the step, or to settle it."""
    service: str
    is_child: bool
    child: dict[str, object] | None = Field(default=None, exclude_if=lambda child: child is None)
    """The child as the saga's ledger has it, so that it is barred where it has no record."""
    who: str
    why: str
    result: object = None
    """The result that the saga goes on with in the place of the step's own."""


class LostStep(Message):
    """A command that a saga sent out, and that the store may not remember."""

    key: str
    command_type: str
    service: str | None = Field(default=None, exclude_if=lambda service: service is None)
    """None where it was written by a release that did not say."""
    command: dict[str, object]


class LostSaga(Message):
    """A saga that nobody carries on."""

    saga_id: str
    saga_type: str
    run_id: str
    how: str
    """The end of its workflow, such as "terminated"."""
    steps: tuple[LostStep, ...]


class Lost(Message):
    """A saga that nobody carries on, as its record has it."""

    saga_id: str
    saga_type: str
    run_id: str
    state: str
    how: str
    """The end of its workflow, such as "terminated"."""
    epoch: int = 0
    is_without_record: bool = Field(default=False, exclude_if=lambda without: not without)
    """The store was restored to a time before the saga began."""


class Claimed(Message):
    """The record of a lost saga as recovery finds it when it takes over."""

    state: str
    epoch: int


class Found(Message):
    """The outcome of a round of recovery for one saga."""

    saga_id: str
    run_id: str
    what: Literal["recovering", "left"]
    why: str
    times: int = Field(default=1, exclude_if=lambda times: times == 1)
    """The number of sagas that this stands for, where there were too many to be told one by one."""


class LateEffect(Message):
    """An effect that came after its undo, and that nobody has undone again."""

    saga_id: str
    saga_type: str
    run_id: str
    key: str
    command_id: UUID
    command_type: str
    service: str
    late_since: str


class Page(Message):
    """Some of the sagas whose record has no end, looked at one by one."""

    lost: tuple[Lost, ...] = ()
    left: tuple[Found, ...] = ()
    after: tuple[str, str, str] | None = None
    """Where the next page begins; None: this was the last one."""


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
"""The decider of the streams of sagas, `saga/WORKFLOW_ID`: the runs of one workflow id, counted by how they ended."""

"""What a saga that continues as new takes along, so that its next run goes on where this one stopped.

It travels in the workflow's memo, which the codec of a user who has one encrypts: commands may hold personal data.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import ConfigDict, Field
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from counteract.commands import command_type, content_of, of_content
from counteract.errors import SagaMisuse
from counteract.lifecycle import PARENT, GivenUp, Parent, RecordedStep
from counteract.messages import Message, Outcome
from counteract.saga.ledger import Ledger, Step, Undoing

MEMO = "counteract"
MEMO_RECORD = "counteract record"
"""A memo of its own: a worker of the release before, which may take the next run, does not read it."""


class CarriedStep(Message):
    """One step of the ledger, none of which is in flight."""

    key: str
    command_type: str
    command: dict[str, object]
    group: int
    outcome: Outcome
    undoing: Undoing
    disowned: bool
    retries: int

    @classmethod
    def of(cls, step: Step) -> CarriedStep:
        if step.outcome is None or step.parked or step.undoing is Undoing.RUNNING:
            raise SagaMisuse(f"{step.key} is in flight: await every step before the saga continues as new")
        return cls(
            key=step.key,
            command_type=step.command.spec.name,
            command=content_of(step.command),
            group=step.group,
            outcome=step.outcome,
            undoing=step.undoing,
            disowned=step.disowned,
            retries=step.retries,
        )

    def step(self, more: CarriedMore) -> Step:
        return Step(
            key=self.key,
            command=of_content(command_type(self.command_type, more.service), self.command),
            group=self.group,
            outcome=self.outcome,
            undoing=self.undoing,
            disowned=self.disowned,
            retries=self.retries,
            skipped=more.skipped,
            corrected=more.corrected,
            attempt_timeout=more.attempt_timeout,
        )


class Carried(Message):
    """All that the next run has to know."""

    begun: bool = False
    over: bool = False
    steps: tuple[CarriedStep, ...] = ()
    due: float | None = None
    """When the deadline passes, in seconds since the epoch."""
    paused: bool = False
    interruption: str | None = None
    cause: str | None = None
    written: dict[str, int] = Field(default_factory=dict)
    """How many lifecycle events of each type are on record."""


class CarriedMore(Message):
    """What else is known of a carried step."""

    model_config = ConfigDict(extra="ignore")

    service: str | None = None
    skipped: bool = False
    corrected: bool = False
    attempt_timeout: timedelta | None = None

    @classmethod
    def of(cls, step: Step) -> CarriedMore:
        return cls(
            service=step.command.spec.service,
            skipped=step.skipped,
            corrected=step.corrected,
            attempt_timeout=step.attempt_timeout,
        )


class CarriedRecord(Message):
    """What this run knows of the saga's record. The next one needs no epoch of its own: nothing is in flight."""

    model_config = ConfigDict(extra="ignore")

    run_id: str
    epoch: int
    state: str
    steps: tuple[CarriedMore, ...] = ()
    """In the order of the ledger."""
    foreign: tuple[RecordedStep, ...] = ()
    given_up: dict[str, GivenUp] = Field(default_factory=dict)
    is_behind: bool = False
    """A reset had begun this run, or one that it continues, and the record has not been taken up since."""
    children: tuple[str, ...] = ()
    """The keys of those that an earlier run may have begun: what undoes them is on record, whatever the ledger holds."""
    handler_failure: str | None = None
    """In words: what the handler of a signal failed with past the pivot, to be reported in the end."""


class Earlier:
    """What the run before took along, as far as it has been read."""

    def __init__(self, carried: Carried, record: CarriedRecord | None) -> None:
        self.carried = carried
        self.record = record

    def handler_failure(self) -> ApplicationError | None:
        told = self.record and self.record.handler_failure
        return ApplicationError(told, type="HandlerFailed") if told else None

    def ledger(self) -> Ledger:
        more = self.record.steps if self.record else (CarriedMore(),) * len(self.carried.steps)
        return Ledger.of([each.step(known) for each, known in zip(self.carried.steps, more, strict=True)])


NOTHING = Earlier(Carried(), None)


def carried_over() -> Earlier:
    """What the run before took along; nothing where there was none. Raises SagaMisuse where no saga can run."""
    info = workflow.info()
    if info.cron_schedule:
        raise SagaMisuse("a saga cannot run on a cron schedule: let a Temporal Schedule start a workflow for each run")
    carried: Carried | None = workflow.memo_value(MEMO, None, type_hint=Carried)
    if carried is None and not info.continued_run_id:
        return NOTHING
    if carried is None and info.attempt > 1:
        return NOTHING
    # Command ids are made of the first run's id: a second saga would be given the first one's answers, and do nothing.
    if carried is None or carried.over:
        raise SagaMisuse("this workflow continues one whose saga is over: start a new workflow for the next saga")
    return Earlier(carried, workflow.memo_value(MEMO_RECORD, None, type_hint=CarriedRecord))


def parent_of_this() -> Parent | None:
    """For a child saga: the step of its parent."""
    parent: Parent | None = workflow.memo_value(PARENT, None, type_hint=Parent)
    return parent

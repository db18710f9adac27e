"""The state that a saga takes along as it continues as new, so that its next run goes on where this one stopped.

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
        """The step as it is carried. Raises SagaMisuse where it is in flight."""
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
        """The step again. Raises ConfigurationError where its command is not known here."""
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
    """Everything that the next run has to know, its saga's record apart."""

    begun: bool = False
    over: bool = False
    steps: tuple[CarriedStep, ...] = ()
    due: float | None = None
    """The time at which the deadline passes, in seconds since 1970."""
    paused: bool = False
    interruption: str | None = None
    cause: str | None = None
    written: dict[str, int] = Field(default_factory=dict)
    """The number of lifecycle events of each type that are on record."""


class CarriedMore(Message):
    """More about a carried step, which workers of the release before do not read."""

    model_config = ConfigDict(extra="ignore")

    service: str | None = None
    skipped: bool = False
    corrected: bool = False
    attempt_timeout: timedelta | None = None

    @classmethod
    def of(cls, step: Step) -> CarriedMore:
        """More about the step."""
        return cls(
            service=step.command.spec.service,
            skipped=step.skipped,
            corrected=step.corrected,
            attempt_timeout=step.attempt_timeout,
        )


class CarriedRecord(Message):
    """The saga's record, as this run knows it. The next one needs no epoch of its own: nothing is in flight."""

    model_config = ConfigDict(extra="ignore")

    run_id: str
    epoch: int
    state: str
    steps: tuple[CarriedMore, ...] = ()
    """One for each carried step, in the order of the ledger."""
    foreign: tuple[RecordedStep, ...] = ()
    given_up: dict[str, GivenUp] = Field(default_factory=dict)
    is_behind: bool = False
    """A reset had begun this run, or one that it continues, and the record has not been taken up since."""
    children: tuple[str, ...] = ()
    """The keys of children that an earlier run may have begun: what undoes them is on record, and not in the ledger."""
    handler_failure: str | None = None
    """The failure, in words, of a signal's handler past the pivot, to be reported in the end."""


class Earlier:
    """The state that the run before took along, and the record, if it knew one."""

    def __init__(self, carried: Carried, record: CarriedRecord | None) -> None:
        self.carried = carried
        self.record = record

    def handler_failure(self) -> ApplicationError | None:
        """The failure of a signal's handler that is to be reported in the end, if there is one."""
        told = self.record and self.record.handler_failure
        return ApplicationError(told, type="HandlerFailed") if told else None

    def ledger(self) -> Ledger:
        """A ledger that goes on after the carried steps."""
        more = self.record.steps if self.record else (CarriedMore(),) * len(self.carried.steps)
        return Ledger.of([each.step(known) for each, known in zip(self.carried.steps, more, strict=True)])


NOTHING = Earlier(Carried(), None)


def carried_over() -> Earlier:
    """The state that the run before took along, or `NOTHING`. Raises SagaMisuse where no saga can run."""
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
    """The step of its parent that this saga is; None for one that is no child."""
    parent: Parent | None = workflow.memo_value(PARENT, None, type_hint=Parent)
    return parent

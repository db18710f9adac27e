"""What a saga that continues as new takes along, so that its next run goes on where this one stopped.

It travels in the workflow's memo, which the codec of a user who has one encrypts: commands may hold personal data.
"""

from __future__ import annotations

from pydantic import Field
from temporalio import workflow

from counteract.commands import command_type, content_of
from counteract.errors import SagaMisuse
from counteract.messages import Message, Outcome
from counteract.saga.ledger import Ledger, Step, Undoing

MEMO = "counteract"


class CarriedStep(Message):
    """One step of the ledger, none of which is in flight."""

    key: str
    command_type: str
    service: str | None = None
    """None: carried by a release that did not say."""
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
            service=step.command.spec.service,
            command=content_of(step.command),
            group=step.group,
            outcome=step.outcome,
            undoing=step.undoing,
            disowned=step.disowned,
            retries=step.retries,
        )

    def step(self) -> Step:
        return Step(
            key=self.key,
            command=command_type(self.command_type, self.service).model_validate(self.command),
            group=self.group,
            outcome=self.outcome,
            undoing=self.undoing,
            disowned=self.disowned,
            retries=self.retries,
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

    def ledger(self) -> Ledger:
        return Ledger.of([each.step() for each in self.steps])


NOTHING = Carried()


def carried_over() -> Carried:
    """What the run before took along; nothing where there was none. Raises SagaMisuse where no saga can run."""
    info = workflow.info()
    if info.cron_schedule:
        raise SagaMisuse("a saga cannot run on a cron schedule: let a Temporal Schedule start a workflow for each run")
    if not info.continued_run_id or info.attempt > 1:
        return Carried()
    carried: Carried | None = workflow.memo_value(MEMO, None, type_hint=Carried)
    # Command ids are made of the first run's id: a second saga would be given the first one's answers, and do nothing.
    if carried is None or carried.over:
        raise SagaMisuse("this workflow continues one whose saga is over: start a new workflow for the next saga")
    return carried

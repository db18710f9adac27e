"""A saga's report: its status and its steps, as a value and as a Markdown table."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from temporalio.common import SearchAttributeKey

from counteract.messages import CommandKind, Outcome
from counteract.saga.ledger import Ledger, Step, Undoing

SAGA_STATUS = SearchAttributeKey.for_keyword("SagaStatus")
SAGA_STEP = SearchAttributeKey.for_keyword("SagaStep")


class SagaStatus(StrEnum):
    """The status of a saga, as reports and the search attribute `SagaStatus` show it."""

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    STUCK = "STUCK"
    COMPLETED = "COMPLETED"
    COMPENSATED = "COMPENSATED"


class StepReport(BaseModel):
    """One step, as far as it has come."""

    model_config = ConfigDict(frozen=True)

    step: str
    kind: CommandKind
    outcome: Outcome | None
    """None while it is in flight."""
    undo: Undoing | None
    """None where nothing is being undone."""
    stuck: bool
    skipped: bool = False
    """A person had the saga go on without the step."""


class SagaReport(BaseModel):
    """The answer to the `report` query, and the details of a compensated saga's failure."""

    model_config = ConfigDict(frozen=True)

    status: SagaStatus
    steps: tuple[StepReport, ...]
    past_pivot: bool
    cause: str | None
    """Why it does not go forward, once it does not."""
    paused: bool = False


def report(ledger: Ledger, status: SagaStatus, *, cause: str | None, paused: bool) -> SagaReport:
    """The report of the saga that has this ledger."""
    return SagaReport(
        status=status,
        steps=tuple(map(_step_report, ledger.steps)),
        past_pivot=ledger.past_pivot,
        cause=cause,
        paused=paused,
    )


def markdown(saga: SagaReport) -> str:
    """The report as a table, which the Web UI shows under the workflow's current details."""
    heading = f"**{saga.status}**" + (" (paused)" if saga.paused else "") + (f": {saga.cause}" if saga.cause else "")
    rows = [
        f"| {s.step} | {s.kind} | {'skipped' if s.skipped else s.outcome or 'in flight'} "
        f"| {s.undo or ''}{' **stuck**' if s.stuck else ''} |"
        for s in saga.steps
    ]
    return "\n".join([heading, "", "| step | kind | outcome | undo |", "|---|---|---|---|", *rows])


def _step_report(step: Step) -> StepReport:
    touched = step.undoing is not Undoing.NOT_BEGUN
    return StepReport(
        step=step.key,
        kind=step.kind,
        outcome=step.outcome,
        undo=step.undoing if touched else None,
        stuck=step.stuck,
        skipped=step.skipped,
    )

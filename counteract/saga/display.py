"""Everything that a saga shows of itself: its status, its report, and two search attributes."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio import workflow

from counteract.saga.course import Course
from counteract.saga.ledger import Ledger
from counteract.saga.report import SAGA_STATUS, SAGA_STEP, SagaReport, SagaStatus, markdown, report


@dataclass(slots=True)
class Display:
    """Shows one saga; its search attributes anew whenever it is told to."""

    course: Course
    ledger: Ledger
    _step: str = ""
    """The step that the saga has come to."""
    _shown: SagaStatus | None = None

    @property
    def status(self) -> SagaStatus:
        """The phase that the saga is in; `STUCK` while a step of it waits for a person."""
        phase = self.course.phase
        is_open = phase in (SagaStatus.RUNNING, SagaStatus.COMPENSATING)
        return SagaStatus.STUCK if is_open and self.ledger.stuck else phase

    def report(self) -> SagaReport:
        """The saga's status and its steps."""
        return report(self.ledger, self.status, cause=self.course.cause, paused=self.course.paused)

    @property
    def details(self) -> str:
        """The report as the table that the Web UI shows under the workflow's current details."""
        return markdown(self.report())

    def update(self, step: str | None = None) -> None:
        """Show the status as a search attribute, if it has changed; `step`, if given, is where the saga is."""
        self._step = step or self._step
        status = self.status
        if self._shown != status:
            # Not for each step: the server writes a record of its own for every change of a search attribute.
            self._shown = status
            where = "" if status is SagaStatus.RUNNING else self._step
            workflow.upsert_search_attributes([SAGA_STATUS.value_set(status), SAGA_STEP.value_set(where)])

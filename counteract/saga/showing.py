"""What the world sees of a saga while it runs: two search attributes, and, for whoever asks, a table of its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from counteract.saga.report import SagaReport, SagaStatus, markdown

SAGA_STATUS = SearchAttributeKey.for_keyword("SagaStatus")
SAGA_STEP = SearchAttributeKey.for_keyword("SagaStep")


@dataclass(slots=True)
class Display:
    """Shows the saga's status anew whenever it is told to."""

    status: Callable[[], SagaStatus]
    report: Callable[[], SagaReport]
    step: str = ""
    """Where the saga is."""
    _shown: SagaStatus | None = None

    def update(self, step: str | None = None) -> None:
        self.step = step or self.step
        status = self.status()
        if self._shown != status:
            # Not for each step: the server writes a record of its own for every change of a search attribute.
            self._shown = status
            where = "" if status is SagaStatus.RUNNING else self.step
            workflow.upsert_search_attributes([SAGA_STATUS.value_set(status), SAGA_STEP.value_set(where)])

    @property
    def details(self) -> str:
        """What the Web UI shows under the workflow's current details."""
        return markdown(self.report())

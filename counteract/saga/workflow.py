"""The base of a saga's workflow class: an ordinary Temporal workflow with a query, two signals and an update more."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

from counteract.errors import SagaMisuse
from counteract.options import check_duration
from counteract.saga.children import SagaHost
from counteract.saga.continue_as_new import carried_over
from counteract.saga.dispatcher import Dispatcher, Park
from counteract.saga.failure import Interruption
from counteract.saga.report import SagaReport
from counteract.saga.resolution import Resolution
from counteract.saga.run import SagaRun
from counteract.saga.saga import Saga

# The old branch can go once no saga is under way that continued as new, paused, on a release without it.
_RESUMED_EARLY = "counteract: a paused saga is resumed before it is opened again"


class SagaWorkflow(SagaHost):
    """The base of the workflow classes of sagas: derive a `@workflow.defn` class, and open the saga in its run method:

    async with self.saga(deadline=timedelta(minutes=30)) as saga:
        reservation = await saga.execute(ReserveStock(...))
    """

    _saga: Saga | None = None
    _saga_run: SagaRun | None = None
    """The saga as the engine uses it; a recovery has this alone."""
    _intercepted: bool = False
    _paused_early: bool | None = None
    """Whether a pause was asked for last, before the saga was there; None if nothing was asked."""
    _stopped_early: tuple[Interruption, BaseException | None] | None = None
    """The first interruption of a saga that this run continues, before it was opened."""
    _asking: asyncio.Task[None] | None = None
    """The task that finds out from the record whether that comes too late."""

    def saga(
        self,
        *,
        deadline: timedelta | None = None,
        alert_after: timedelta = timedelta(minutes=10),
        on_failure: Park | None = None,
    ) -> Saga:
        """The one saga of this workflow. Raises SagaMisuse when it is asked for twice, or without the plugin.

        `deadline` is how long it may take until its pivot: after it, what was done is undone. It counts from here, over
        all runs of a workflow that continues as new, and survives what Temporal's own timeouts do not: they end a
        workflow without running its code. `alert_after` is how long an undo, or a step that must succeed, may go on
        failing before the saga shows as STUCK. With `on_failure` every step that fails waits for a person before the
        saga turns back.
        """
        check_duration("the saga is declared wrongly", "alert_after", alert_after)
        if not self._intercepted:
            raise SagaMisuse("sagas need their plugin: Client.connect(..., plugins=[CounteractPlugin(...)])")
        if self._saga_run is not None:
            raise SagaMisuse("a workflow has one saga: put all steps into one `async with self.saga()`")
        earlier = carried_over()
        run = self._saga_run = SagaRun(
            Dispatcher.of_this_workflow(),
            deadline=deadline,
            alert_after=alert_after,
            on_failure=on_failure,
            earlier=earlier,
        )
        if self._paused_early:
            run.pause()
        elif self._paused_early is False and earlier.carried.paused and workflow.patched(_RESUMED_EARLY):
            run.resume()
        if self._stopped_early:
            run.interrupt(*self._stopped_early)
        self._saga = Saga(run)
        return self._saga

    @workflow.query(name="report")
    def _report(self) -> SagaReport | None:
        """The saga's status and steps; null before it has begun."""
        return self._saga_run.display.report() if self._saga_run is not None else None

    @workflow.signal(name="pause")
    def _pause(self) -> None:
        self._paused_early = True
        if self._saga_run:
            self._saga_run.pause()

    @workflow.signal(name="resume")
    def _resume(self) -> None:
        self._paused_early = False
        if self._saga_run:
            self._saga_run.resume()

    @workflow.update(name="resolve")
    async def _resolve(self, resolution: Resolution) -> None:
        self._begun().parking.resolve(resolution)

    @_resolve.validator
    def _check_resolution(self, resolution: Resolution) -> None:
        self._begun().parking.check(resolution)

    def _begun(self) -> SagaRun:
        if self._saga_run is None:
            raise SagaMisuse("the saga has not begun")
        return self._saga_run

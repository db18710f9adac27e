"""Undoes sagas whose workflow ended without running its code: terminated, timed out, or lost.

`RecoverSagas` asks which sagas began and have neither an end on record nor a workflow that is open, and starts one
`RecoverSaga` for each. Both are safe to run again, and beside each other: the fence lets each undo happen once.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, VersioningBehavior, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from counteract.commands import command_type
from counteract.lifecycle import FIND_LOST_SAGAS, LostSaga
from counteract.saga.dispatching import Dispatcher
from counteract.saga.ledger import Ledger
from counteract.saga.report import SagaReport
from counteract.saga.saga import Saga
from counteract.saga.workflow import SagaWorkflow


@workflow.defn
class RecoverSagas:
    """One round: find the lost sagas and begin to recover each. Returns their workflow ids."""

    @workflow.run
    async def run(self, include_forgotten: bool = False) -> list[str]:
        """With `include_forgotten` also those whose workflow the server no longer knows.

        Not by default: asked of the wrong server or namespace, every running saga would look forgotten.
        """
        lost = await workflow.execute_activity(
            FIND_LOST_SAGAS,
            include_forgotten,
            result_type=list[LostSaga],
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
        )
        return [saga.saga_id for saga in lost if await self._begin(saga)]

    async def _begin(self, lost: LostSaga) -> bool:
        try:
            await workflow.start_child_workflow(
                RecoverSaga.run,
                lost,
                id=f"recover {lost.saga_id} {lost.run_id}",
                parent_close_policy=ParentClosePolicy.ABANDON,
                # One that is open or has succeeded is not begun again; one that ended as stuck may be.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            )
        except WorkflowAlreadyStartedError:
            return False
        return True


@workflow.defn
class RecoverSaga(SagaWorkflow):
    """Undoes what one lost saga did, or, where its pivot took effect, reports it as stuck and fails as SagaIncomplete."""

    @workflow.run
    async def run(self, lost: LostSaga) -> SagaReport:
        dispatcher = Dispatcher(lost.saga_id, lost.saga_type, lost.run_id)
        self._saga = Saga(dispatcher, deadline=None, alert_after=timedelta(minutes=10))
        await self._saga.recover(ledger_of(lost), why=f"recovered: its workflow was {lost.how}")
        return self._saga.report()


# On workers with versions both go on with whichever is current, where sagas are pinned to theirs. Bound to a version whose
# workers are gone, a round would stay open, and the schedule begins no other before it has ended; and a recovery that
# waits for a correction would never get it. These are classes of their own because on a worker without versions the
# server takes no task of a workflow that names a behaviour.


@workflow.defn(name="RecoverSagas", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class RecoverSagasWithCurrentVersion(RecoverSagas):
    """The same, for workers that have a version."""

    @workflow.run
    async def run(self, include_forgotten: bool = False) -> list[str]:
        return await super().run(include_forgotten)


@workflow.defn(name="RecoverSaga", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class RecoverSagaWithCurrentVersion(RecoverSaga):
    """The same, for workers that have a version."""

    @workflow.run
    async def run(self, lost: LostSaga) -> SagaReport:
        return await super().run(lost)


def ledger_of(lost: LostSaga) -> Ledger:
    """Every step that was sent out, each of which may have taken effect: the fence knows, and lets none come late.

    Which steps were parallel is no longer known; one after the other is as good.
    """
    ledger = Ledger()
    for step in lost.steps:
        ledger.adopt(step.key, command_type(step.command_type, step.service).model_validate(step.command))
    return ledger

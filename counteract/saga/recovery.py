"""Undoes sagas whose workflow ended without running its code: terminated, timed out, or lost.

`RecoverSagas` pages through the records that have no end and starts one `RecoverLostSaga` for each whose workflow is
not open. That one takes over by the record, and by nothing else: a saga that went on in between is not lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import VersioningBehavior, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from counteract.commands import command_type, of_content
from counteract.errors import ConfigurationError, SagaIncomplete, UnreadableCommand
from counteract.lifecycle import (
    CLAIM_SAGA,
    END_OPEN_RUN,
    ENDED,
    FIND_LATE,
    FIND_LOST,
    FIND_LOST_SAGAS,
    FIND_UNRECORDED,
    Claimed,
    Found,
    LateEffect,
    Lost,
    LostSaga,
    LostStep,
    Page,
)
from counteract.messages import Command, CommandKind
from counteract.saga.dispatcher import Dispatcher
from counteract.saga.late import undo_late
from counteract.saga.report import SagaReport
from counteract.saga.rounds import ASKING, Progress, Round
from counteract.saga.run import SagaRun
from counteract.saga.takeover import Takeover
from counteract.saga.words import in_own_words
from counteract.saga.workflow import SagaWorkflow

_LONGEST_ID = 900
"""Bytes of a workflow id: the server's limit is 1000."""


@workflow.defn
class RecoverSagas:
    """One round: it finds the lost sagas and begins to recover each."""

    @workflow.run
    async def run(
        self, include_forgotten: bool = False, restored_to: str | None = None, so_far: Progress | None = None
    ) -> list[Found]:
        """Each saga that was found, what was done about it, or why it was left.

        With `include_forgotten` also those whose workflow the server no longer knows; with `restored_to`, a time, those
        that began later and of which the store has no record.

        Not by default: asked of the wrong server or namespace, every running saga would look forgotten; and with the
        wrong database, every lost one would be without a record.
        """
        if not workflow.patched("counteract: recovery by the record"):
            return await self._by_the_release_before(include_forgotten)
        if not workflow.patched("counteract: a round that continues as new"):
            return await self._in_one_run(include_forgotten)
        this = Round.after_run(so_far or Progress(), include_forgotten, restored_to, self._begin)
        if not await this.run():
            workflow.continue_as_new(args=[include_forgotten, restored_to, this.progress])
        return this.result()

    async def _in_one_run(self, include_forgotten: bool) -> list[Found]:
        """Do as the release before, for rounds that it has begun: to be kept until none of them is open any more."""
        found: list[Found] = []
        after: tuple[str, str, str] | None = None
        while True:
            page = await workflow.execute_activity(
                FIND_LOST,
                args=[after, include_forgotten],
                result_type=Page,
                start_to_close_timeout=timedelta(minutes=10),
                heartbeat_timeout=timedelta(minutes=1),
                retry_policy=ASKING,
            )
            found += page.left
            # At once: each alone would take a task of this workflow.
            found += await asyncio.gather(*(self._begin(lost) for lost in page.lost))
            after = page.after
            if after is None:
                break
        late = await workflow.execute_activity(
            FIND_LATE, result_type=list[LateEffect], start_to_close_timeout=timedelta(minutes=1), retry_policy=ASKING
        )
        return [*found, *[await undo_late(each) for each in late]]

    async def _begin(self, lost: Lost) -> Found:
        past = lost.state == "past the pivot"
        recovery = recovery_id(lost.saga_id, lost.run_id)

        def said(what: str, why: str) -> Found:
            return Found(saga_id=lost.saga_id, run_id=lost.run_id, what="recovering" if what else "left", why=why)

        try:
            await workflow.start_child_workflow(
                RecoverLostSaga.run,
                lost,
                id=recovery,
                parent_close_policy=ParentClosePolicy.ABANDON,
                # One that is open is not begun again. One that has succeeded is, should the database have lost what it
                # recorded: the record decides. Past the pivot there is nothing that a second one could say.
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE
                if past
                else WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            )
        except WorkflowAlreadyStartedError:
            why = f"it is past its pivot, {_way_out(lost.saga_id)}" if past else f"{recovery} is at it, or has been"
            return said("", why)
        return said("recovering", f"its workflow was {lost.how}")

    async def _by_the_release_before(self, include_forgotten: bool) -> list[Found]:
        await workflow.execute_activity(
            FIND_LOST_SAGAS,
            include_forgotten,
            result_type=list[LostSaga],
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=timedelta(minutes=1),
            retry_policy=ASKING,
        )
        return []


@workflow.defn
class RecoverLostSaga(SagaWorkflow):
    """Undoes one lost saga; where its pivot took effect, reports it as stuck and fails as SagaIncomplete."""

    @workflow.run
    async def run(self, lost: Lost) -> SagaReport | None:
        """The report of the undone saga; None where it went on, or ended, in between.

        Raises SagaIncomplete where its pivot took effect.
        """
        dispatcher = Dispatcher.of_this_workflow()
        dispatcher.saga_id, dispatcher.saga_type, dispatcher.run_id = lost.saga_id, lost.saga_type, lost.run_id
        saga = self._saga_run = SagaRun(dispatcher, deadline=None, alert_after=timedelta(minutes=10))
        takeover = Takeover(saga)
        # A pivot that the store forgot may have happened: what became of it is found out before anything is claimed.
        dispatcher.epoch = lost.epoch
        await takeover.find_out(_read_back(await self._unrecorded(lost), CommandKind.PIVOT))
        claimed = await self._claim(lost)
        if claimed is None or claimed.state in ENDED:
            return None
        if await self._is_carried_on(lost):
            return None
        why = f"recovered: its workflow was {lost.how}"
        try:
            await takeover.recover(
                claimed,
                why=why,
                claim=lambda: self._claim(lost),
                is_carried_on=lambda: self._is_carried_on(lost),
                forgotten=lambda: self._forgotten(lost),
            )
        except SagaIncomplete as incomplete:
            raise SagaIncomplete(f"{lost.saga_id} is past its pivot, {_way_out(lost.saga_id)}") from incomplete
        return saga.display.report() if saga.course.is_over else None

    async def _claim(self, lost: Lost) -> Claimed | None:
        claimed: Claimed | None = await workflow.execute_activity(
            CLAIM_SAGA,
            lost,
            result_type=Claimed | None,  # type: ignore[arg-type]
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=ASKING,
        )
        return claimed

    async def _forgotten(self, lost: Lost) -> list[tuple[str, Command[Any]]]:
        return _read_back(await self._unrecorded(lost), CommandKind.COMPENSATABLE)

    async def _unrecorded(self, lost: Lost) -> list[LostStep]:
        found: list[LostStep] = await workflow.execute_activity(
            FIND_UNRECORDED,
            lost,
            result_type=list[LostStep],
            start_to_close_timeout=timedelta(minutes=2),
            retry_policy=ASKING,
        )
        return found

    async def _is_carried_on(self, lost: Lost) -> bool:
        """Whether a run goes on, as at the pivot and past it, where nothing was claimed.

        The open run of a saga that was claimed is ended.
        """
        carried_on: bool | None = await workflow.execute_activity(
            END_OPEN_RUN,
            lost,
            result_type=bool | None,  # type: ignore[arg-type]
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=ASKING,
        )
        return bool(carried_on)


@workflow.defn
class RecoverSaga(SagaWorkflow):
    """A recovery that a round of the release before has started: to be kept until none of them is open any more."""

    @workflow.run
    async def run(self, lost: LostSaga) -> SagaReport:
        """The report of the undone saga. Raises SagaIncomplete where its pivot took effect."""
        dispatcher = Dispatcher(lost.saga_id, lost.saga_type, lost.run_id)
        saga = self._saga_run = SagaRun(dispatcher, deadline=None, alert_after=timedelta(minutes=10))
        await Takeover(saga).recover_unrecorded(_read_back(lost.steps), why=f"recovered: its workflow was {lost.how}")
        return saga.display.report()


# On workers with versions both go on with whichever is current, where sagas are pinned to theirs. Bound to a version
# whose workers are gone, a round would stay open, and the schedule begins no other before it has ended; and a recovery
# that waits for a correction would never get it. These are classes of their own because on a worker without versions
# the server takes no task of a workflow that names a behaviour.


@workflow.defn(name="RecoverSagas", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class RecoverSagasWithCurrentVersion(RecoverSagas):
    """`RecoverSagas`, for workers that have a version."""

    @workflow.run
    async def run(
        self, include_forgotten: bool = False, restored_to: str | None = None, so_far: Progress | None = None
    ) -> list[Found]:
        """Do as `RecoverSagas.run`."""
        return await super().run(include_forgotten, restored_to, so_far)


@workflow.defn(name="RecoverLostSaga", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class RecoverLostSagaWithCurrentVersion(RecoverLostSaga):
    """`RecoverLostSaga`, for workers that have a version."""

    @workflow.run
    async def run(self, lost: Lost) -> SagaReport | None:
        """Do as `RecoverLostSaga.run`."""
        return await super().run(lost)


@workflow.defn(name="RecoverSaga", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class RecoverSagaWithCurrentVersion(RecoverSaga):
    """`RecoverSaga`, for workers that have a version."""

    @workflow.run
    async def run(self, lost: LostSaga) -> SagaReport:
        """Do as `RecoverSaga.run`."""
        return await super().run(lost)


def _read_back(steps: Sequence[LostStep], kind: CommandKind | None = None) -> list[tuple[str, Command[Any]]]:
    """The steps' keys with their commands; with `kind`, only those of that kind. Raises UnreadableCommand."""
    try:
        classes = [(step, command_type(step.command_type, step.service)) for step in steps]
        return [(step.key, of_content(each, step.command)) for step, each in classes if kind in (None, each.kind)]
    except (ConfigurationError, ValidationError) as error:
        raise UnreadableCommand(f"the saga cannot be undone here: {in_own_words(error)}") from None


def recovery_id(saga_id: str, run_id: str) -> str:
    """The workflow id of a saga's recovery; the saga's own, which may be as long as the server allows, is cut in it."""
    room = _LONGEST_ID - len(f"recover  {run_id}")
    return f"recover {saga_id.encode()[:room].decode(errors='ignore')} {run_id}"


def _way_out(saga_id: str) -> str:
    return (
        f"and only forward from there: `counteract sagas resume {saga_id}` has it go on, "
        f"`counteract sagas close {saga_id}` puts on record that a person has finished it"
    )

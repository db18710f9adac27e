"""The undo of a saga by a recovery: another workflow, in the saga's own name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio import workflow

from counteract.errors import SagaIncomplete, SagaLost
from counteract.lifecycle import Claimed
from counteract.messages import Command, CommandKind, Role
from counteract.saga.run import SagaRun


@dataclass(frozen=True, slots=True)
class Takeover:
    """Undoes a lost saga."""

    saga: SagaRun
    """The recovery's own, which has the ids of the lost saga."""

    async def find_out(self, pivots: Sequence[tuple[str, Command[Any]]]) -> None:
        """Find out what became of pivots that the saga's history sent, and that the store has no row of."""
        for key, command in pivots:
            await self.saga.stepper.find_out(self.saga.ledger.adopt(key, command))

    async def recover(
        self,
        claimed: Claimed,
        *,
        why: str,
        claim: Callable[[], Awaitable[Claimed | None]],
        is_carried_on: Callable[[], Awaitable[bool]],
        forgotten: Callable[[], Awaitable[Sequence[tuple[str, Command[Any]]]]],
    ) -> None:
        """Undo the saga; do nothing where somebody carries it on. Raises SagaIncomplete where its pivot took effect.

        At the pivot it cannot be claimed: what became of that is found out first, and then it is claimed again.
        `forgotten` are steps that its history sent, and that the store has no row of: no proof that nothing happened.
        """
        saga = self.saga
        saga.course.is_closing = True
        await saga.record.take_over(claimed.epoch, claimed.state)
        saga.record.own(saga.ledger.steps)
        if claimed.state != "turning back":
            for pivot in await saga.record.adopt(pivot=True):
                await saga.stepper.find_out(pivot)
            claimed = await claim() or claimed
            await saga.record.take_over(claimed.epoch, claimed.state)
            saga.record.own(saga.ledger.steps)
            # It took its time. The old branch can go once no recovery is open that a release without it has begun.
            if workflow.patched("counteract: recovery asks again whether somebody goes on") and await is_carried_on():
                saga.course.is_closing = False
                return
        while not saga.ledger.past_pivot and (steps := await forgotten()):
            for step in [saga.ledger.adopt(key, command) for key, command in steps]:
                await saga.stepper.undo(step, Role.TURN)
        await self._end(why)

    async def recover_unrecorded(self, commands: Sequence[tuple[str, Command[Any]]], *, why: str) -> None:
        """Undo the saga of which these are all the commands, as a recovery did that the release before began.

        Raises SagaIncomplete where its pivot took effect.
        """
        self.saga.course.is_closing = True
        for step in [self.saga.ledger.adopt(key, command) for key, command in commands]:
            if step.kind is CommandKind.PIVOT:
                await self.saga.stepper.find_out(step)
        await self._end(why)

    async def _end(self, why: str) -> None:
        ending = await self.saga.endings.end(SagaLost(why))
        self.saga.course.is_over = True
        if isinstance(ending, SagaIncomplete):
            raise ending

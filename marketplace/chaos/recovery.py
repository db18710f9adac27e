"""Recovery, every few seconds beside running sagas, as by a schedule; and the person who makes decisions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.service import RPCError

from counteract import Resolution, SagaReport
from counteract.cli.close import close
from counteract.lifecycle import Found
from marketplace.chaos.cases import INCOMPLETE, Case
from marketplace.chaos.load import Load
from marketplace.chaos.plan import Kind
from marketplace.chaos.resets import Point, reset
from marketplace.scenarios import Ending

EVERY = (2.0, 5.0)
"""Seconds between two rounds of recovery, from and to."""
RESET_SHARE = 0.3
"""The share of recoveries that are reset, and of sagas that are reset while they are recovered."""
STUCK = "SagaStatus = 'STUCK' and ExecutionStatus = 'Running'"
ADVICE = "counteract sagas close"
"""The advice of a round about a saga that only a person can finish."""
RECOVERY = "RecoverLostSaga"
RECOVERING = f"WorkflowType = '{RECOVERY}' and ExecutionStatus = 'Running'"


@dataclass(frozen=True, slots=True)
class Caretaker:
    """The work of operators and their schedules, in each namespace."""

    worlds: Sequence[Client]
    load: Load
    losses: Set[str]
    dice: random.Random
    database_url: str
    closed: set[Case] = field(default_factory=set)
    """The sagas that a person has put on record as finished."""

    async def at_work(self) -> None:
        """Recover and decide, until cancelled."""
        await asyncio.gather(*(self._rounds(number, client) for number, client in enumerate(self.worlds)))

    async def recover(self, client: Client, *, include_forgotten: bool = False) -> list[str]:
        """Run one round, as `counteract sagas recover` does. Returns the workflow ids of what it found."""
        looked: list[Found] = await client.execute_workflow(
            "RecoverSagas",
            include_forgotten,
            id=f"recover-sagas-{uuid4().hex[:8]}",
            task_queue="sagas",
            result_type=list[Found],
        )
        found = [each.saga_id for each in looked if each.what == "recovering"]
        self.load.meddled["recoveries begun"] += len(found)
        await self._close({(each.saga_id, each.run_id) for each in looked if ADVICE in each.why})
        return found

    async def answer(self, client: Client) -> None:
        """Skip steps that are stuck because commits were lost: to accept that something is gone takes a person."""
        async for execution in client.list_workflows(STUCK):
            recovers = execution.workflow_type == RECOVERY
            if execution.id in self.losses or (recovers and self.losses):
                with suppress(RPCError, RPCTimeoutOrCancelledError, WorkflowUpdateFailedError, TimeoutError):
                    async with asyncio.timeout(20):
                        await self._skip(client.get_workflow_handle(execution.id))

    async def _close(self, advised: Set[tuple[str, str]]) -> None:
        """Close the sagas that are over, and whose end is not on record because commits were lost.

        Left open, each round would ask the server about all of them again, and cost more from hour to hour.
        """
        over = [each for each in self.load.cases if each.key in advised and each.how in (Ending.COMPLETED, INCOMPLETE)]
        forgotten = [each for each in over if each.workflow_id in self.losses]
        if not forgotten:
            return
        with suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
                for case in forgotten:
                    # As the workflow ended, which a store that lost commits may not know.
                    await close(connection, *case.key, "chaos", "its commits were lost", Ending.COMPLETED)
                    self.closed.add(case)
                    self.load.meddled["closed by hand, after lost commits"] += 1

    async def _rounds(self, number: int, client: Client) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(*EVERY))
            # That the server knows nothing of a saga proves nothing where there are two servers: not one's own are left.
            include_forgotten = number > 0 and self.dice.random() < 0.5
            with suppress(RPCError, WorkflowFailureError):
                found = await self.recover(client, include_forgotten=include_forgotten)
                await self._meddle(client, found)
            with suppress(RPCError):
                await self.answer(client)

    async def _meddle(self, client: Client, found: Iterable[str]) -> None:
        if Kind.RESET not in self.load.kinds:
            return
        theirs = {case.workflow_id: case for case in self.load.cases if case.client is client}
        for case in filter(None, map(theirs.get, found)):
            if self.dice.random() < RESET_SHARE:
                await self._reset_lost(case)
        async for execution in client.list_workflows(RECOVERING):
            if self.dice.random() < RESET_SHARE and await reset(client, execution.id, Point.ANY, self.dice):
                self.load.meddled["reset: a recovery"] += 1

    async def _reset_lost(self, case: Case) -> None:
        await asyncio.sleep(self.dice.uniform(0, 0.3))
        await self.load.reset_lost(case)

    async def _skip(self, handle: WorkflowHandle[Any, Any]) -> None:
        report = await handle.query("report", result_type=SagaReport)
        for step in report.steps if report else ():
            if step.stuck:
                resolution = Resolution(step=step.step, decision="skip", who="chaos", why="its commits were lost")
                await handle.execute_update("resolve", resolution)
                self.load.meddled["skipped by hand, after lost commits"] += 1

"""After the storm: recovery is given its time, and then everything is looked at once more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from counteract import PostgresEventStore
from marketplace.chaos.cases import INCOMPLETE, LOST, OPEN, Case
from marketplace.chaos.recovery import Caretaker
from marketplace.scenarios import Ending

WITHOUT_AN_END = """
    select started.aggregate_id, started.event_data ->> 'run_id' from events started
    where started.aggregate_type = 'saga' and started.event_type = 'SagaStarted'
      and not exists (
        select from events ended
        where ended.aggregate_type = 'saga' and ended.aggregate_id = started.aggregate_id
          and ended.event_type in ('SagaCompleted', 'SagaCompensated')
          and ended.event_data ->> 'run_id' = started.event_data ->> 'run_id')
"""
PAUSE = 2.0
"""Seconds between two looks."""
ATTEMPTS = 3
"""The number of failures, while everything is up, after which a workflow task is taken to fail for ever."""
AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Waits:
    """The things that a saga waits for which should have ended."""

    what: str
    is_wedged: bool
    """Whether its code fails at the same place again and again."""


@dataclass(frozen=True, slots=True)
class Calm:
    """The time after a storm, in which nothing breaks any more."""

    caretaker: Caretaker
    store: PostgresEventStore

    @property
    def cases(self) -> list[Case]:
        return self.caretaker.load.cases

    @asynccontextmanager
    async def tended(self) -> AsyncIterator[None]:
        """While sagas end by themselves, others are recovered, and what waits for a person gets its answer."""
        tending = asyncio.create_task(self._tend())
        try:
            yield
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)

    async def _tend(self) -> None:
        while True:
            await self._carry_on()
            await asyncio.sleep(PAUSE)

    async def _carry_on(self) -> None:
        for client in self.caretaker.worlds:
            with suppress(RPCError, WorkflowFailureError):
                await self.caretaker.recover(client)
                await self.caretaker.answer(client)

    async def all_ended(self, deadline: float) -> None:
        """Return when every saga has its end, also on record, or the time is over."""
        while True:
            await self._carry_on()
            await each(self._looked_at(case, deadline) for case in self.cases if case.how in (OPEN, LOST, INCOMPLETE))
            if not await self._left() or time.monotonic() > deadline:
                return
            await asyncio.sleep(PAUSE)

    async def held_up(self, folder: Path) -> dict[Case, Waits]:
        """The sagas that have not ended, and why. Their histories are written to a folder."""
        return {case: await self._waits(case, folder) for case in self.cases if case.how == OPEN}

    async def _waits(self, case: Case, folder: Path) -> Waits:
        about = (await case.handle.describe()).raw_description
        history = await case.handle.fetch_history()
        (folder / f"{case.workflow_id} {case.run_id}.json").write_text(history.to_json(), encoding="utf-8")
        attempts = about.pending_workflow_task.attempt
        activities = [f"{each.activity_type.name}, attempt {each.attempt}" for each in about.pending_activities]
        last = EventType.Name(history.events[-1].event_type).removeprefix("EVENT_TYPE_").lower().replace("_", " ")
        what = "; ".join(activities) or (f"its code, attempt {attempts}" if attempts else f"nothing, after {last}")
        return Waits(what, is_wedged=attempts >= ATTEMPTS)

    async def _looked_at(self, case: Case, deadline: float) -> None:
        with suppress(TimeoutError, RPCError):
            async with asyncio.timeout(min(10.0, max(deadline - time.monotonic(), 1.0))):
                await case.ended()
                await self.caretaker.load.bring_forward(case)

    async def _left(self) -> bool:
        """Whether anything is yet to come. A saga that completed before its end was lost is only reported."""
        async with self.store.connection() as connection:
            open_ = set(await (await connection.execute(WITHOUT_AN_END)).fetchall())
        lost = [case for case in self.cases if case.workflow_id in self.caretaker.losses]
        reported = {case.key for case in lost if case.resets or case.how in (Ending.COMPLETED, INCOMPLETE)}
        return bool(open_ - reported) or any(case.how == OPEN for case in self.cases)


async def each(work: Iterable[object]) -> None:
    """All of it, a few at a time."""
    doors = asyncio.Semaphore(AT_ONCE)

    async def one(task: object) -> None:
        async with doors:
            await task  # type: ignore[misc]

    await asyncio.gather(*map(one, work))

"""Customers: checkouts of every kind, begun at random moments, some of them cancelled or terminated midway."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count, islice

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from domain.checkout import Receipt
from marketplace.catalogue import Catalogue
from marketplace.demo import ending
from marketplace.scenarios import Scenario, scenarios
from workflows.checkout import Checkout

CANCELLED_SHARE = 0.12
"""The share of checkouts that somebody cancels, half of them twice."""
TERMINATED_SHARE = 0.15
"""The share that somebody terminates, of those that cannot get past their pivot. The others would need a person."""

NEVER_CAPTURED = ("out of stock", "product replaced", "card declined", "authorised, but never answered")


TERMINATED = "terminated, then recovered"
OPEN = "not ended"


@dataclass(slots=True)
class Load:
    """All checkouts of one run, and what became of each."""

    client: Client
    dice: random.Random
    endings: dict[Scenario, str] = field(default_factory=dict)
    meddled: Counter[str] = field(default_factory=Counter)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def arrive(self, chosen: Sequence[Scenario], seconds: float) -> None:
        """Begin all of them, at random moments spread over so many seconds."""
        moments = sorted(self.dice.uniform(0, seconds) for _ in chosen)
        began = asyncio.get_running_loop().time()
        for scenario, moment in zip(chosen, moments, strict=True):
            await asyncio.sleep(began + moment - asyncio.get_running_loop().time())
            self.endings[scenario] = OPEN
            task = asyncio.create_task(self._check_out(scenario, random.Random(self.dice.random())))  # noqa: S311
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def ended(self, seconds: float) -> None:
        """Return when all have ended, or the time is over."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=max(seconds, 0))

    async def leave(self) -> None:
        """Wait for nothing any more."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    @property
    def terminated(self) -> list[Scenario]:
        return [scenario for scenario, how in self.endings.items() if how == TERMINATED]

    async def _check_out(self, scenario: Scenario, dice: random.Random) -> None:
        handle = await self.client.start_workflow(
            Checkout.run, scenario.request, id=scenario.workflow_id, task_queue="sagas"
        )
        await self._meddle(handle, scenario, dice)
        self.endings[scenario] = await self._ending(handle)

    async def _ending(self, handle: WorkflowHandle[Checkout, Receipt]) -> str:
        how = await ending(handle)
        if not how.startswith("failed"):
            return how
        status = (await handle.describe()).status
        return TERMINATED if status is WorkflowExecutionStatus.TERMINATED else how

    async def _meddle(self, handle: WorkflowHandle[Checkout, Receipt], scenario: Scenario, dice: random.Random) -> None:
        if scenario.cancel_at or dice.random() < CANCELLED_SHARE:
            await asyncio.sleep(dice.expovariate(1))
            for _ in range(dice.randint(1, 2)):
                # Refused where the checkout has ended already.
                with suppress(RPCError):
                    await handle.cancel()
                    self.meddled["cancel requested"] += 1
                await asyncio.sleep(dice.uniform(0, 0.5))
        elif scenario.kind in NEVER_CAPTURED and dice.random() < TERMINATED_SHARE:
            await asyncio.sleep(dice.expovariate(1))
            with suppress(RPCError):
                await handle.terminate("chaos")
                self.meddled["terminated"] += 1


def mix(goods: Catalogue, number: int, dice: random.Random) -> list[Scenario]:
    """So many checkouts of all kinds in random order, each with an order id of its own."""
    chosen = list(islice(_rounds(goods), number))
    dice.shuffle(chosen)
    return chosen


def _rounds(goods: Catalogue) -> Iterator[Scenario]:
    dice = random.Random(3)  # noqa: S311 - no secret
    for turn in count(1):
        fifty = scenarios(goods)
        dice.shuffle(fifty)
        for scenario in fifty:
            order_id = f"{scenario.request.order_id}-{turn}"
            yield replace(scenario, request=scenario.request.model_copy(update={"order_id": order_id}))

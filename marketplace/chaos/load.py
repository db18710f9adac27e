"""Customers: checkouts of every kind, begun at random moments, some of them cancelled, terminated or reset."""

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
from marketplace.chaos.resets import Point, begin_anew, reset
from marketplace.demo import ending
from marketplace.scenarios import Scenario, scenarios
from workflows.checkout import Checkout

CANCELLED_SHARE = 0.12
"""The share of checkouts that somebody cancels, half of them twice."""
TERMINATED_SHARE = 0.15
"""The share that somebody terminates, of those that cannot get past their pivot. The others would need a person."""

RESET_SHARE = 0.15
"""The share that somebody resets while it is under way."""
RESET_AFTERWARDS_SHARE = 0.2
"""The share that somebody resets once it has ended."""
CANCELLED_AFTER_RESET_SHARE = 0.3
BY_HAND = 5
"""How often somebody tries to bring a saga forward that was stopped behind its pivot."""

NEVER_CAPTURED = ("out of stock", "product replaced", "card declined", "authorised, but never answered")

TERMINATED = "terminated, then recovered"
INCOMPLETE = "SagaIncomplete"
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

    async def reset_again(self, scenario: Scenario) -> None:
        """One that was terminated, and has been recovered since."""
        dice = random.Random(f"{scenario.workflow_id} again")  # noqa: S311 - no secret
        if await self._reset(scenario, dice, "recovered"):
            self.endings[scenario] = await self._ending(scenario)

    async def _check_out(self, scenario: Scenario, dice: random.Random) -> None:
        await self.client.start_workflow(Checkout.run, scenario.request, id=scenario.workflow_id, task_queue="sagas")
        await self._meddle(scenario, dice)
        how = await self._ending(scenario)
        if how != TERMINATED and dice.random() < RESET_AFTERWARDS_SHARE and await self._reset(scenario, dice, how):
            await self._meddle_again(scenario, dice)
            how = await self._ending(scenario)
        self.endings[scenario] = await self._brought_forward(scenario, how)

    def _handle(self, scenario: Scenario) -> WorkflowHandle[Checkout, Receipt]:
        """Of its last run: a reset begins another."""
        return self.client.get_workflow_handle_for(Checkout.run, scenario.workflow_id)

    async def _ending(self, scenario: Scenario) -> str:
        how = await ending(self._handle(scenario))
        if not how.startswith("failed"):
            return how
        status = (await self._handle(scenario).describe()).status
        return TERMINATED if status is WorkflowExecutionStatus.TERMINATED else how

    async def _brought_forward(self, scenario: Scenario, how: str) -> str:
        """What a person does with a saga that was stopped, after a reset, although an earlier run had passed its pivot."""
        for _ in range(BY_HAND):
            if INCOMPLETE not in how:
                break
            await begin_anew(self.client, scenario.workflow_id)
            self.meddled["reset by hand, to go on behind its pivot"] += 1
            how = await self._ending(scenario)
        return how

    async def _meddle(self, scenario: Scenario, dice: random.Random) -> None:
        await asyncio.sleep(dice.expovariate(1))
        if scenario.cancel_at or dice.random() < CANCELLED_SHARE:
            for _ in range(dice.randint(1, 2)):
                await self._cancel(scenario)
                await asyncio.sleep(dice.uniform(0, 0.5))
        elif scenario.kind in NEVER_CAPTURED and dice.random() < TERMINATED_SHARE:
            await self._terminate(scenario)
        elif dice.random() < RESET_SHARE and await self._reset(scenario, dice, "running"):
            await self._meddle_again(scenario, dice)

    async def _meddle_again(self, scenario: Scenario, dice: random.Random) -> None:
        """A run that was begun by a reset knows less than the one before had done."""
        await asyncio.sleep(dice.expovariate(5))
        if dice.random() < CANCELLED_AFTER_RESET_SHARE:
            await self._cancel(scenario)
        elif scenario.kind in NEVER_CAPTURED and dice.random() < TERMINATED_SHARE:
            await self._terminate(scenario)

    # Each is refused where the checkout has ended already.

    async def _cancel(self, scenario: Scenario) -> None:
        with suppress(RPCError):
            await self._handle(scenario).cancel()
            self.meddled["cancel requested"] += 1

    async def _terminate(self, scenario: Scenario) -> None:
        with suppress(RPCError):
            await self._handle(scenario).terminate("chaos")
            self.meddled["terminated"] += 1

    async def _reset(self, scenario: Scenario, dice: random.Random, state: str) -> bool:
        point = dice.choice(list(Point))
        with suppress(RPCError):
            if await reset(self.client, scenario.workflow_id, point, dice):
                self.meddled[f"reset to the {point} decision: {state}"] += 1
                return True
        return False


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

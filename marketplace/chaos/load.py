"""Customers: checkouts of every kind, begun at random moments; some are cancelled, terminated, reset or added to."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, deque
from collections.abc import Coroutine, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from uuid import uuid4

from temporalio.client import RPCTimeoutOrCancelledError, WorkflowUpdateFailedError
from temporalio.service import RPCError

from counteract import SagaStatus
from marketplace.chaos.cases import INCOMPLETE, LOST, Case, gift
from marketplace.chaos.plan import Kind
from marketplace.chaos.resets import Point, begin_anew, reset

AT_ONCE = 40
"""The number of checkouts under way at the same time; further ones wait."""
MOST_AT_ONCE = 100
"""The same number on a machine with little to do, because what is under way waits for something that is gone."""
CANCELLED_SHARE = 0.12
"""The share of checkouts that somebody cancels, half of them twice."""
TERMINATED_SHARE = 0.15
"""The share that somebody terminates, of those that cannot get past their pivot. The others would need a person."""

RESET_SHARE = 0.15
"""The share that somebody resets while it is under way."""
RESET_UNDOING_SHARE = 0.3
"""The share that somebody resets while it is being undone, of those that have to be."""
RESET_AFTERWARDS_SHARE = 0.2
"""The share that somebody resets once it has ended."""
CANCELLED_AFTER_RESET_SHARE = 0.3
BY_HAND = 5
"""The number of times that somebody tries to bring a saga forward that was stopped past its pivot."""

USUAL = 6.0
"""Seconds that a checkout is taken to last, before any has ended."""
PATIENCE = 20.0
"""Seconds that somebody waits for the answer to an update, or for an undo to begin."""
LOOKED_EVERY = 0.2
"""Seconds from look to look at whether it has begun: each costs the server a thousandth of a second."""


def room() -> int:
    """The number of checkouts that may be under way now: the fewer processes wait for a processor, the more."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return max(AT_ONCE, min(MOST_AT_ONCE, round(1.5 * AT_ONCE / max(busy, 0.1))))


@dataclass(slots=True)
class Load:
    """All checkouts of one run, and what became of each."""

    dice: random.Random
    kinds: Set[Kind]
    losses: Set[str]
    """The sagas that lost commits: nobody resets those, for that is said not to be safe."""
    cases: list[Case] = field(default_factory=list)
    meddled: Counter[str] = field(default_factory=Counter)
    _lengths: deque[float] = field(default_factory=lambda: deque([USUAL], maxlen=50))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    under_way: int = 0
    at_once: int | None = None
    """The number that may be under way; None: as many as there is room for."""

    async def arrive(self, chosen: Sequence[Case], seconds: float) -> None:
        """Begin all of them, at random moments spread over so many seconds, or later where too many are under way."""
        moments = sorted(self.dice.uniform(0, seconds) for _ in chosen)
        began = asyncio.get_running_loop().time()
        for case, moment in zip(chosen, moments, strict=True):
            await asyncio.sleep(began + moment - asyncio.get_running_loop().time())
            while self.under_way >= (self.at_once or room()):  # noqa: ASYNC110 - the machine tells nobody when it has room
                await asyncio.sleep(0.1)
            self.cases.append(case)
            self.under_way += 1
            self._begin(self._check_out(case, random.Random(self.dice.random())))  # noqa: S311 - no secret

    async def ended(self, seconds: float) -> None:
        """Return when all have ended, or the time is over."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(seconds, 0))

    async def leave(self) -> None:
        """Wait for nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def ended_so_far(self) -> int:
        return len(self.cases) - self.under_way

    async def reset_lost(self, case: Case) -> None:
        """Reset a saga that recovery has just found, and is about to undo, or has undone."""
        dice = random.Random(f"{case.workflow_id} again")  # noqa: S311 - no secret
        await self._reset(case, dice, "being recovered")

    async def bring_forward(self, case: Case) -> None:
        """Do what a person does with a saga that a reset has stopped although an earlier run had passed its pivot."""
        for _ in range(BY_HAND):
            if case.how != INCOMPLETE or case.workflow_id in self.losses:
                break
            await begin_anew(case.client, case.workflow_id)
            self.meddled["reset by hand, to go on behind its pivot"] += 1
            await case.ended()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _check_out(self, case: Case, dice: random.Random) -> None:
        try:
            began = asyncio.get_running_loop().time()
            await case.start(dice, median(self._lengths))
            for product_id in case.gifts:
                self._begin(self._give(case, product_id, dice.expovariate(1), update=dice.random() < 0.5))
            await self._meddle(case, dice)
            await case.ended()
            self._lengths.append(asyncio.get_running_loop().time() - began)
        except RPCError as error:
            # Nobody is told now; where it has not ended in the end, that shows.
            case.how = f"asked in vain: {error}"
        finally:
            self.under_way -= 1
        await self._afterwards(case, dice)

    async def _afterwards(self, case: Case, dice: random.Random) -> None:
        if case.how != LOST and dice.random() < RESET_AFTERWARDS_SHARE and await self._reset(case, dice, case.how):
            await self._meddle_again(case, dice)
            await case.ended()
        await self.bring_forward(case)

    async def _meddle(self, case: Case, dice: random.Random) -> None:
        await asyncio.sleep(dice.expovariate(1))
        if case.scenario.cancel_at or dice.random() < CANCELLED_SHARE:
            for _ in range(dice.randint(1, 2)):
                await self._cancel(case)
                await asyncio.sleep(dice.uniform(0, 0.5))
        elif case.never_captured and dice.random() < TERMINATED_SHARE:
            await self._terminate(case)
        elif case.never_captured and dice.random() < RESET_UNDOING_SHARE:
            await self._reset_undoing(case, dice)
        elif dice.random() < RESET_SHARE and await self._reset(case, dice, "running"):
            await self._meddle_again(case, dice)

    async def _meddle_again(self, case: Case, dice: random.Random) -> None:
        """Interfere once more, with a run that a reset began: it knows less than the one before had done."""
        await asyncio.sleep(dice.expovariate(5))
        if dice.random() < CANCELLED_AFTER_RESET_SHARE:
            await self._cancel(case)
        elif case.never_captured and dice.random() < TERMINATED_SHARE:
            await self._terminate(case)

    async def _give(self, case: Case, product_id: str, moment: float, *, update: bool) -> None:
        """Begin a step by a signal or an update, early or late."""
        await asyncio.sleep(moment)
        with suppress(RPCError):
            if not update:
                await case.handle.signal("wrap", gift(case, product_id), rpc_timeout=timedelta(seconds=PATIENCE))
                self.meddled["gift by signal"] += 1
                return
            try:
                async with asyncio.timeout(PATIENCE):
                    await case.handle.execute_update("add", gift(case, product_id), id=uuid4().hex)
                self.meddled["gift by update: added"] += 1
            except WorkflowUpdateFailedError:
                self.meddled["gift by update: refused"] += 1
            except (RPCTimeoutOrCancelledError, TimeoutError):
                self.meddled["gift by update: no answer yet"] += 1

    # Each is refused where the checkout has ended already.

    async def _cancel(self, case: Case) -> None:
        if Kind.CANCEL in self.kinds:
            with suppress(RPCError):
                await case.handle.cancel()
                self.meddled["cancel requested"] += 1

    async def _terminate(self, case: Case) -> None:
        if Kind.TERMINATE in self.kinds:
            with suppress(RPCError):
                await case.handle.terminate("chaos")
                self.meddled["terminated"] += 1

    async def _reset_undoing(self, case: Case, dice: random.Random) -> None:
        """Wait for the undo to begin, and reset it then."""
        with suppress(RPCError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while (about := await case.handle.describe()).close_time is None:
                    if any(each.value == SagaStatus.COMPENSATING for each in about.typed_search_attributes):
                        await self._reset(case, dice, "being undone")
                        break
                    await asyncio.sleep(LOOKED_EVERY)

    async def _reset(self, case: Case, dice: random.Random, state: str) -> bool:
        if Kind.RESET not in self.kinds or case.workflow_id in self.losses:
            return False
        point = dice.choice(list(Point))
        # The run before it continued as new, half of the time: it does so again.
        run_id = case.run_id if case.new_run and dice.random() < 0.5 else None
        with suppress(RPCError):
            if await reset(case.client, case.workflow_id, point, dice, run_id=run_id):
                case.resets += 1
                again = ", to continue as new again" if run_id else ""
                self.meddled[f"reset to the {point} decision: {state}{again}"] += 1
                return True
        return False

"""The cases of a storm: one customer's checkout each, where it runs, and what became of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count, islice
from typing import Any

from temporalio import exceptions
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError

from domain.checkout import Receipt
from marketplace.catalogue import Catalogue
from marketplace.chaos.gifts import Gift, GiftCheckout, GiftRequest
from marketplace.chaos.plan import Kind, Plan
from marketplace.scenarios import Ending, Scenario, scenarios
from workflows.checkout import Checkout

LOST = "lost, then recovered"
INCOMPLETE = "stuck past the pivot"
HAD_COMPLETED = "completed, its code failed"
"""The end of a further run whose code went another way, or was stopped, when all was done and on record already."""
OPEN = "not ended"
ENDINGS = (Ending.COMPLETED, Ending.COMPENSATED, Ending.CANCELLED, LOST)

NEVER_CAPTURED = ("out of stock", "product replaced", "card declined", "authorised, but never answered")
"""Kinds of checkouts that cannot get past their pivot, so that no person is needed where they are lost."""

GIFTS_SHARE = 0.2
NEW_RUN_SHARE = 0.5
"""The share of checkouts with gifts that continue as new."""
RETRIED_SHARE = 0.12
DOUBLED_SHARE = 0.4
"""The share of pairs whose second checkout is in the second namespace, under the id of the first."""


@dataclass(slots=True, eq=False)
class Case:
    """One checkout, and its workflow."""

    scenario: Scenario
    client: Client
    workflow_id: str
    gifts: list[str] = field(default_factory=list)
    """The products that are yet to be added, where its saga has handlers for them."""
    new_run: bool = False
    retried: bool = False
    """Whether a retry policy retries it, with a timeout for each run that may well strike."""
    run_id: str = ""
    """The id of its first run."""
    how: str = OPEN
    products: tuple[str, ...] = ()
    """The products that are bought once it has completed."""
    resets: int = 0

    @property
    def order_id(self) -> str:
        return self.scenario.request.order_id

    @property
    def never_captured(self) -> bool:
        return self.scenario.kind in NEVER_CAPTURED

    @property
    def key(self) -> tuple[str, str]:
        """The key of its record: workflow id and first run id."""
        return self.workflow_id, self.run_id

    @property
    def handle(self) -> WorkflowHandle[Any, Receipt]:
        """The handle of its last run, since a reset begins another."""
        return self.client.get_workflow_handle(self.workflow_id, result_type=Receipt)

    async def start(self, dice: random.Random, usual: float) -> None:
        """Start the saga; `usual` is the number of seconds that a checkout takes just now."""
        common: dict[str, Any] = {"id": self.workflow_id, "task_queue": "sagas"}
        if self.retried:
            common |= self._retries(dice, usual)
        checkout = self.scenario.request
        request: object = GiftRequest(checkout=checkout, new_run=self.new_run) if self.gifts else checkout
        name = (GiftCheckout if self.gifts else Checkout).__name__
        handle = await self.client.start_workflow(name, request, **common)
        self.run_id = handle.first_execution_run_id or ""

    def _retries(self, dice: random.Random, usual: float) -> dict[str, Any]:
        """The retry policy and timeout of its runs.

        A saga that may pass its pivot is tried until it ends: the last attempt's timeout would leave it to a person.
        The timeout goes by what is usual: on a busy machine every run of a fixed length would be in vain.
        """
        share, attempts = (dice.uniform(0.3, 1.5), 3) if self.never_captured else (dice.uniform(0.7, 3), 0)
        policy = RetryPolicy(
            initial_interval=timedelta(seconds=0.5), maximum_interval=timedelta(seconds=2), maximum_attempts=attempts
        )
        return {"run_timeout": timedelta(seconds=1 + share * usual), "retry_policy": policy}

    async def ended(self) -> None:
        """Wait for the end of its last run, and of those that resets begin meanwhile. Returns how it ended."""
        while True:
            self.how = await self._end_of(None)
            last = await self.handle.describe()
            if last.close_time is not None:
                self.how = await self._end_of(last.run_id)
                return

    async def _end_of(self, run_id: str | None) -> str:
        handle = self.client.get_workflow_handle(self.workflow_id, run_id=run_id, result_type=Receipt)
        try:
            receipt = await handle.result()
        except WorkflowFailureError as failure:
            return named(failure.cause)
        self.products = receipt.products
        return Ending.COMPLETED


def named(cause: BaseException) -> str:
    match cause:
        case CancelledError():
            return Ending.CANCELLED
        case TerminatedError() | exceptions.TimeoutError():
            return LOST
        case ApplicationError(type="SagaCompensated"):
            return Ending.COMPENSATED
        case ApplicationError(type="SagaIncomplete"):
            return INCOMPLETE
        case ApplicationError(type="SagaHasCompleted"):
            return HAD_COMPLETED
    return f"failed: {cause}"


def mix(goods: Catalogue, plan: Plan, worlds: Sequence[Client], dice: random.Random) -> list[Case]:
    """Checkouts of all kinds in random order. Some have a double of the same workflow id in another namespace."""
    chosen = list(islice(_rounds(goods), plan.sagas))
    dice.shuffle(chosen)
    cases = [Case(each, worlds[0], each.workflow_id) for each in chosen]
    for client in worlds[1:]:
        # Neighbours, so that both are under way at the same time.
        for place in range(0, len(cases) - 1, 2):
            if dice.random() < DOUBLED_SHARE:
                cases[place + 1] = _double(cases[place], client)
    for case in cases:
        _furnish(case, goods, plan, dice)
    return cases


def _double(case: Case, client: Client) -> Case:
    """Another order under the same workflow id."""
    request = case.scenario.request.model_copy(update={"order_id": f"{case.order_id}-second"})
    return Case(replace(case.scenario, request=request), client, case.workflow_id)


def _furnish(case: Case, goods: Catalogue, plan: Plan, dice: random.Random) -> None:
    request = case.scenario.request
    if Kind.HANDLERS in plan.kinds and not request.partial and dice.random() < GIFTS_SHARE:
        bought = {line.product_id for line in request.lines}
        others = [each.product_id for each in goods.plain if each.product_id not in bought]
        case.gifts = dice.sample(others, dice.randint(1, 3))
        case.new_run = dice.random() < NEW_RUN_SHARE
    case.retried = Kind.RETRY in plan.kinds and dice.random() < RETRIED_SHARE


def gift(case: Case, product_id: str) -> Gift:
    return Gift(product_id=product_id, order_id=case.order_id)


def _rounds(goods: Catalogue) -> Iterator[Scenario]:
    dice = random.Random(3)  # noqa: S311 - no secret
    for turn in count(1):
        fifty = scenarios(goods)
        dice.shuffle(fifty)
        for scenario in fifty:
            order_id = f"{scenario.request.order_id}-{turn}"
            yield replace(scenario, request=scenario.request.model_copy(update={"order_id": order_id}))

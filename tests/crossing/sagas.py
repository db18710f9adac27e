"""Its sagas: with a gate that a signal opens, so that a test has them wait where it wants them to."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow

from counteract.saga import SagaWorkflow
from tests.crossing.shop import AskCard, Sell, Send, SetAside, TakeBack, TakeMoney


class Order(BaseModel):
    """What is bought, and how that goes."""

    order: str
    card: str = "fine"
    pivot: str = ""
    """How the money is taken; where that is empty, the pivot is the shop's own."""
    waits_before: str = ""
    """The name of the step before which it waits for the gate."""
    months: int = 1
    month: int = 1
    amount_after: int = 1
    """What a subscription or a gift sets aside at its end: there is only one."""


def patience(manner: str) -> timedelta:
    """Nobody need wait long for who never answers."""
    return timedelta(seconds=4 if manner == "silent" else 60)


class Gated(SagaWorkflow):
    """Waits where its order says so."""

    is_open: bool = False

    @workflow.signal(name="open")
    def _open(self) -> None:
        self.is_open = True

    async def gate(self, order: Order, step: str) -> None:
        if order.waits_before == step:
            await workflow.wait_condition(lambda: self.is_open)


@workflow.defn
class Sale(Gated):
    """Goods, card, pivot, and the parcel."""

    @workflow.run
    async def run(self, order: Order) -> str:
        async with self.saga() as saga:
            await saga.execute(SetAside(order=order.order))
            await saga.execute(AskCard(order=order.order, manner=order.card), timeout=patience(order.card))
            await self.gate(order, "pivot")
            if order.pivot:
                await saga.execute(TakeMoney(order=order.order, manner=order.pivot), timeout=patience(order.pivot))
            else:
                await saga.execute(Sell(order=order.order))
            await self.gate(order, "Send")
            await saga.execute(Send(order=order.order))
            return order.order


@workflow.defn
class Subscription(Gated):
    """A card for each month, in a run of its own, and the goods at the end."""

    @workflow.run
    async def run(self, order: Order) -> str:
        async with self.saga() as saga:
            await saga.execute(AskCard(order=order.order, manner=order.card), timeout=patience(order.card))
            await self.gate(order, f"month {order.month + 1}")
            if order.month < order.months:
                workflow.continue_as_new(order.model_copy(update={"month": order.month + 1}))
            await saga.execute(SetAside(order=order.order, amount=order.amount_after))
            await saga.execute(Sell(order=order.order))
            return order.order


@workflow.defn
class Gift(Gated):
    """A sale as a step, and something of its own after it."""

    @workflow.run
    async def run(self, order: Order) -> str:
        async with self.saga() as saga:
            bought = order.model_copy(update={"order": f"{order.order}-bought"})
            taking_back = TakeBack(order=bought.order)
            await saga.execute_child(Sale.run, bought, id=bought.order, compensation=taking_back)
            await saga.execute(SetAside(order=order.order, amount=order.amount_after))
            await saga.execute(Sell(order=order.order))
            return order.order

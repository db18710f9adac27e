"""A kiosk that takes money outside of the store: handlers that are right, and careless ones."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import timedelta
from uuid import UUID, uuid4

from pydantic import BaseModel
from temporalio import workflow

from counteract import Compensatable, Pivot
from counteract.participants import Dispatch, Undo, compensates, handles
from counteract.saga import SagaWorkflow


class TakeMoney(
    Compensatable[None], service="kiosk", compensation="GiveMoneyBack", attempt_timeout=timedelta(seconds=5)
):
    """Take one coin."""

    sale: str


class HandOver(Pivot[None], service="kiosk"):
    """Give the paper away."""

    sale: str


class SaleRequest(BaseModel):
    """Whose sale it is."""

    sale: str


@workflow.defn
class Sale(SagaWorkflow):
    """A sale: money, then the paper."""

    @workflow.run
    async def run(self, request: SaleRequest) -> None:
        async with self.saga() as saga:
            await saga.execute(TakeMoney(sale=request.sale))
            await saga.execute(HandOver(sale=request.sale))


_visits = itertools.count()


@workflow.defn
class FickleSale(SagaWorkflow):
    """A sale that goes another way each time that its code runs."""

    @workflow.run
    async def run(self, request: SaleRequest) -> None:
        async with self.saga() as saga:
            if next(_visits) % 2:
                await workflow.sleep(0.01)
            await saga.execute(TakeMoney(sale=request.sale))
            await saga.execute(HandOver(sale=request.sale))


class Till:
    """The coins of each sale, by the key they were taken under."""

    def __init__(self) -> None:
        self.coins: dict[str, set[UUID]] = defaultdict(set)
        self.barred: set[UUID] = set()
        self.paid_back: dict[str, int] = defaultdict(int)

    def take(self, sale: str, key: UUID) -> None:
        if key not in self.barred:
            self.coins[sale].add(key)

    def give_back(self, sale: str, key: UUID) -> None:
        self.barred.add(key)
        self.coins[sale].discard(key)

    def balance(self, sale: str) -> int:
        return len(self.coins[sale]) - self.paid_back[sale]


@handles(TakeMoney, effect="external")
async def take_money(command: TakeMoney, dispatch: Dispatch, till: Till) -> None:
    till.take(command.sale, dispatch.command_id)


@compensates(TakeMoney)
async def give_money_back(undo: Undo[TakeMoney, None], till: Till) -> None:
    """Safe when nothing was taken, or was given back before."""
    till.give_back(undo.command.sale, undo.command_id)


@handles(HandOver)
async def hand_over(command: HandOver) -> None:
    pass


# Careless ones.


@handles(TakeMoney, effect="external")
async def take_money_under_any_key(command: TakeMoney, till: Till) -> None:
    till.take(command.sale, uuid4())


@handles(TakeMoney)
async def take_money_undeclared(command: TakeMoney, till: Till) -> None:
    """An effect of its own in a handler that does not say so: it may run more often than it is recorded."""
    till.take(command.sale, uuid4())


@compensates(TakeMoney)
async def give_back_what_there_is(undo: Undo[TakeMoney, None], till: Till) -> None:
    """An undo that leaves the way open for what is still on its way."""
    till.coins[undo.command.sale].discard(undo.command_id)


@compensates(TakeMoney)
async def pay_a_coin(undo: Undo[TakeMoney, None], till: Till) -> None:
    """An undo that is not safe to run twice, nor when nothing was taken."""
    till.paid_back[undo.command.sale] += 1

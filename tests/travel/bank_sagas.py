"""Sagas over a participant with a store, and one outside: the bank and the card company."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow

from counteract import Retry, SagaWorkflow
from tests.travel.bank import Authorize, Capture, HoldMoney, PayHeldMoney, SendReceipt


class OutingRequest(BaseModel):
    """Who pays, for which trip, and how much."""

    account: str
    trip: str
    amount: int
    nap: float = 0
    """Seconds between the card company and the payment."""


@workflow.defn
class Outing(SagaWorkflow):
    """Set money aside, ask the card company, and pay."""

    @workflow.run
    async def run(self, request: OutingRequest) -> list[str]:
        async with self.saga() as saga:
            held = await saga.execute(HoldMoney(account=request.account, trip=request.trip, amount=request.amount))
            authorized = await saga.execute(Authorize(trip=request.trip))
            await asyncio.sleep(request.nap)
            paid = await saga.execute(PayHeldMoney(account=request.account, trip=request.trip))
            return [held.reference, authorized.reference, paid.reference]


@workflow.defn
class CardOuting(SagaWorkflow):
    """Set money aside, and pay by card: the pivot is outside."""

    @workflow.run
    async def run(self, request: OutingRequest) -> str:
        async with self.saga() as saga:
            await saga.execute(HoldMoney(account=request.account, trip=request.trip, amount=request.amount))
            paid = await saga.execute(
                Capture(trip=request.trip), attempt_timeout=timedelta(seconds=1), timeout=timedelta(seconds=0.5)
            )
            return paid.reference


@workflow.defn
class HurriedOuting(SagaWorkflow):
    """Gives the card company little time for an attempt, and one attempt."""

    @workflow.run
    async def run(self, request: OutingRequest, seconds: float) -> None:
        async with self.saga() as saga:
            await saga.execute(
                Authorize(trip=request.trip),
                attempt_timeout=timedelta(seconds=seconds),
                timeout=timedelta(seconds=30),
                retry=Retry(attempts=1),
            )


@workflow.defn
class Errand(SagaWorkflow):
    """Set money aside, wait, and leave it at that."""

    @workflow.run
    async def run(self, request: OutingRequest) -> None:
        async with self.saga() as saga:
            await saga.execute(HoldMoney(account=request.account, trip=request.trip, amount=request.amount))
            await asyncio.sleep(request.nap)


@workflow.defn
class Purchase(SagaWorkflow):
    """Set money aside, take some from a card, and send the receipt."""

    @workflow.run
    async def run(self, request: OutingRequest) -> str:
        async with self.saga() as saga:
            await saga.execute(HoldMoney(account=request.account, trip=request.trip, amount=request.amount))
            captured = await saga.execute(Capture(trip=request.trip), timeout=timedelta(seconds=0.5))
            await saga.execute(SendReceipt(trip=request.trip))
            return captured.reference

"""A saga with another as one of its steps."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel
from temporalio import workflow

from counteract import SagaWorkflow
from tests.travel.bank import HoldMoney, PayBack
from tests.travel.bank_sagas import Outing, OutingRequest


class HolidayRequest(BaseModel):
    """An outing, with money set aside before and after it."""

    account: str
    trip: str
    amount: int = 60
    """What the outing costs."""
    extra: int = 10
    """What is set aside after it."""
    nap: float = 0
    """In seconds, after the outing."""
    runs: int = 1
    """With two, it continues as new after the outing."""


@workflow.defn
class Holiday(SagaWorkflow):
    """Set money aside, go on an outing, and set more money aside."""

    @workflow.run
    async def run(self, request: HolidayRequest) -> list[str]:
        async with self.saga() as saga:
            if not saga.report().steps:
                await saga.execute(HoldMoney(account=request.account, trip=f"{request.trip} before", amount=10))
                await saga.execute_child(
                    Outing.run,
                    OutingRequest(account=request.account, trip=f"{request.trip} outing", amount=request.amount),
                    id=outing_of(request.trip),
                    compensation=PayBack(account=request.account, amount=request.amount),
                )
                if request.runs > 1:
                    workflow.continue_as_new(request)
            await asyncio.sleep(request.nap)
            await saga.execute(HoldMoney(account=request.account, trip=f"{request.trip} after", amount=request.extra))
            return [step.step for step in saga.report().steps]


def outing_of(trip: str) -> str:
    """The child's workflow id."""
    return f"{trip}-outing"

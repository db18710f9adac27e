"""A saga over participants with a store, and one outside."""

from __future__ import annotations

from pydantic import BaseModel
from temporalio import workflow

from counteract.saga import SagaWorkflow
from tests.travel.bank import Authorize, HoldMoney, PayHeldMoney


class OutingRequest(BaseModel):
    """Who pays, for which trip, and how much."""

    account: str
    trip: str
    amount: int


@workflow.defn
class Outing(SagaWorkflow):
    """Set money aside, ask the card company, and pay."""

    @workflow.run
    async def run(self, request: OutingRequest) -> list[str]:
        async with self.saga() as saga:
            held = await saga.execute(HoldMoney(**request.model_dump()))
            authorized = await saga.execute(Authorize(trip=request.trip))
            paid = await saga.execute(PayHeldMoney(account=request.account, trip=request.trip))
            return [held.reference, authorized.reference, paid.reference]

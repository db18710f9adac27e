"""A saga that sends whatever it is given."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow

from counteract import Retry, SagaWorkflow
from tests.travel.parcels import QUICK, Hand, Pack, Weigh


class Parcel(BaseModel):
    parcel: str
    label: str = ""
    weighs: str = "well"
    hands: str = "well"
    minutes: int = 5
    attempts: int = 3


@workflow.defn
class SendParcel(SagaWorkflow):
    """Packs, weighs and hands over."""

    _stamps = 0

    @workflow.run
    async def run(self, request: Parcel, waits: bool = False) -> str:
        async with self.saga() as saga:
            await saga.execute(Pack(parcel=request.parcel))
            await workflow.wait_condition(lambda: not waits or self._stamps > 0)
            label = request.label.replace("<nul>", "\x00").replace("<half>", "\ud83d")
            retry = Retry(initial=QUICK.initial, maximum=QUICK.maximum, attempts=request.attempts)
            weigh = Weigh(parcel=request.parcel, label=label, answers=request.weighs)
            await saga.execute(weigh, timeout=timedelta(minutes=request.minutes), retry=retry)
            await saga.execute(Hand(parcel=request.parcel, answers=request.hands))
        return "sent"

    @workflow.signal
    def stamp(self, stamps: int) -> None:
        self._stamps += stamps

    @workflow.update
    async def stamped(self, stamps: int) -> int:
        self._stamps += stamps
        return self._stamps

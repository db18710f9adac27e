"""Sagas whose own code takes ways that those of the other tests do not take."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from counteract.saga import SagaWorkflow
from tests.travel.booking import BookFlight, BookHotel, ChargeCard
from tests.travel.trips import TripRequest

PATIENCE = 0.5
"""Seconds that it waits for its pivot."""


@workflow.defn
class Hasty(SagaWorkflow):
    """A flight and a hotel in tasks of its own, which it leaves alone if one fails; it ends with its pivot, half awaited."""

    @workflow.run
    async def run(self, request: TripRequest) -> None:
        async with self.saga() as saga:
            await asyncio.gather(
                saga.execute(BookFlight(trip=request.trip)), saga.execute(BookHotel(trip=request.trip))
            )
            try:
                async with asyncio.timeout(PATIENCE):
                    await saga.execute(ChargeCard(trip=request.trip))
            except TimeoutError:
                return


@workflow.defn
class Careless(SagaWorkflow):
    """Leaves its block while a task of its own still sends out steps."""

    @workflow.run
    async def run(self, request: TripRequest) -> None:
        async with self.saga() as saga:

            async def both() -> None:
                await saga.execute(BookFlight(trip=request.trip))
                await saga.execute(BookHotel(trip=request.trip))

            self.rest = asyncio.create_task(both())
            await asyncio.sleep(0)

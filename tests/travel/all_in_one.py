"""A trip whose own code catches, waits, and does several things at once, all in one saga."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from counteract import Rejected, Saga, SagaWorkflow, StepFailed
from tests.travel.booking import BookFlight, BookHotel, ChargeCard, SendTickets
from tests.travel.trips import TripRequest


@workflow.defn
class Excursion(SagaWorkflow):
    """Flights that may be refused, hotels that it can do without, one more of each by tasks of its own, and the money."""

    @workflow.run
    async def run(self, request: TripRequest) -> list[str]:
        async with self.saga() as saga:
            flights = await saga.parallel(
                *(BookFlight(trip=request.trip, seats=n) for n in (1, 2)), tolerate_refusals=True
            )
            booked = [each.reference for each in flights if not isinstance(each, Rejected)]
            booked += await hotels(saga, request.trip)
            await asyncio.sleep(0.1)
            async with asyncio.TaskGroup() as group:
                more = [
                    group.create_task(saga.execute(BookFlight(trip=request.trip, seats=3))),
                    group.create_task(saga.execute(BookHotel(trip=request.trip))),
                ]
            await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))
            return [*booked, *(each.result().reference for each in more)]


async def hotels(saga: Saga, trip: str) -> list[str]:
    """Two, or none."""
    try:
        return [each.reference for each in await saga.parallel(BookHotel(trip=trip), BookHotel(trip=trip))]
    except (Rejected, StepFailed):
        return []

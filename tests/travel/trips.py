"""The saga of a trip, in the shapes that the tests need."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow

from counteract import Rejected, Saga, SagaWorkflow, StepFailed
from tests.travel.booking import Booked, BookFlight, BookHotel, ChargeCard, SendTickets


class TripRequest(BaseModel):
    """What to book, and which turn the saga's own code takes."""

    trip: str
    deadline: timedelta | None = None
    flights: int = 1
    change_of_mind: bool = False
    sleep_before_pivot: float = 0
    sleep_after_pivot: float = 0
    fail_after_pivot: bool = False
    hotel_is_optional: bool = False


@workflow.defn
class Trip(SagaWorkflow):
    """Flights at once, then the hotel, then the money, then the tickets."""

    @workflow.run
    async def run(self, request: TripRequest) -> list[str]:
        async with self.saga(deadline=request.deadline) as saga:
            flights = await saga.parallel(*(BookFlight(trip=request.trip, seats=n + 1) for n in range(request.flights)))
            hotel = await book_hotel(saga, request)
            await asyncio.sleep(request.sleep_before_pivot)
            if request.change_of_mind:
                raise Rejected("changed my mind")
            charge = await saga.execute(ChargeCard(trip=request.trip))
            await asyncio.sleep(request.sleep_after_pivot)
            if request.fail_after_pivot:
                raise Rejected("too late")
            await saga.execute(SendTickets(trip=request.trip))
            return [booked.reference for booked in (*flights, *hotel, charge)]


async def book_hotel(saga: Saga, request: TripRequest) -> list[Booked]:
    try:
        return [await saga.execute(BookHotel(trip=request.trip))]
    except StepFailed:
        if not request.hotel_is_optional:
            raise
        return []

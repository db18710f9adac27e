"""The activities of the trip by hand."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio import activity

from benchmarks.engines.trip import Done, TripRequest
from benchmarks.engines.writers import Pool, write


@dataclass(frozen=True, slots=True)
class Steps:
    """Each writes its event once, however often it is tried."""

    pool: Pool

    @activity.defn
    async def book_flight(self, request: TripRequest) -> Done:
        await write(self.pool, "flight", request.trip, "FlightBooked", 1)
        return Done(reference=f"flight-{request.trip}")

    @activity.defn
    async def cancel_flight(self, request: TripRequest) -> None:
        await write(self.pool, "flight", request.trip, "FlightCancelled", 2)

    @activity.defn
    async def book_hotel(self, request: TripRequest) -> Done:
        await write(self.pool, "hotel", request.trip, "HotelBooked", 1)
        return Done(reference=f"hotel-{request.trip}")

    @activity.defn
    async def cancel_hotel(self, request: TripRequest) -> None:
        await write(self.pool, "hotel", request.trip, "HotelCancelled", 2)

    @activity.defn
    async def charge_card(self, request: TripRequest) -> Done:
        await write(self.pool, "charge", request.trip, "CardCharged", 1)
        return Done(reference=f"charge-{request.trip}")

    @activity.defn
    async def send_tickets(self, request: TripRequest) -> Done:
        await write(self.pool, "tickets", request.trip, "TicketsSent", 1)
        return Done(reference=f"tickets-{request.trip}")

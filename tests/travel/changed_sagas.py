"""Trips as careless changes would leave them: under the same name, without a patch."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

from counteract import SagaWorkflow
from tests.travel.bank_sagas import Outing, OutingRequest
from tests.travel.booking import BookFlight, BookHotel, ChargeCard, SendTickets
from tests.travel.trips import TripRequest


@workflow.defn(name="Trip")
class HotelFirst(SagaWorkflow):
    """The steps in another order."""

    @workflow.run
    async def run(self, request: TripRequest) -> list[str]:
        async with self.saga() as saga:
            hotel = await saga.execute(BookHotel(trip=request.trip))
            flight = await saga.execute(BookFlight(trip=request.trip))
            charge = await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))
            return [booked.reference for booked in (flight, hotel, charge)]


@workflow.defn(name="Trip")
class TwoSeats(SagaWorkflow):
    """The same steps, but one of them orders something else."""

    @workflow.run
    async def run(self, request: TripRequest) -> list[str]:
        async with self.saga() as saga:
            flight = await saga.execute(BookFlight(trip=request.trip, seats=2))
            hotel = await saga.execute(BookHotel(trip=request.trip))
            charge = await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))
            return [booked.reference for booked in (flight, hotel, charge)]


@workflow.defn(name="Trip")
class ExtraStep(SagaWorkflow):
    """One step more at the end."""

    @workflow.run
    async def run(self, request: TripRequest) -> list[str]:
        async with self.saga() as saga:
            flight = await saga.execute(BookFlight(trip=request.trip))
            hotel = await saga.execute(BookHotel(trip=request.trip))
            charge = await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))
            return [booked.reference for booked in (flight, hotel, charge)]


@workflow.defn(name="Trip")
class NoTickets(SagaWorkflow):
    """The last step left out."""

    @workflow.run
    async def run(self, request: TripRequest) -> list[str]:
        async with self.saga() as saga:
            flight = await saga.execute(BookFlight(trip=request.trip))
            hotel = await saga.execute(BookHotel(trip=request.trip))
            charge = await saga.execute(ChargeCard(trip=request.trip))
            return [booked.reference for booked in (flight, hotel, charge)]


@workflow.defn(name="Trip")
class ForgetsTheHotel(SagaWorkflow):
    """The same steps, with a bug between them."""

    @workflow.run
    async def run(self, request: TripRequest) -> list[str]:
        async with self.saga() as saga:
            booked = {"flight": await saga.execute(BookFlight(trip=request.trip))}
            await saga.execute(BookHotel(trip=request.trip))
            references = [booked[what].reference for what in ("flight", "hotel")]
            charge = await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))
            return [*references, charge.reference]


@workflow.defn(name="Trip")
class HotelFirstFromNowOn(SagaWorkflow):
    """The steps in another order for the trips that begin with this code."""

    @workflow.run
    async def run(self, request: TripRequest) -> list[str]:
        async with self.saga(deadline=request.deadline) as saga:
            if workflow.patched("hotel-first"):
                hotel = await saga.execute(BookHotel(trip=request.trip))
                flight = await saga.execute(BookFlight(trip=request.trip))
            else:
                flight = await saga.execute(BookFlight(trip=request.trip))
                hotel = await saga.execute(BookHotel(trip=request.trip))
            charge = await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))
            return [booked.reference for booked in (flight, hotel, charge)]


@workflow.defn(name="Trip")
class AnotherDeadlineAndResult(SagaWorkflow):
    """The same steps, with more time for them and less told of them."""

    @workflow.run
    async def run(self, request: TripRequest) -> str:
        async with self.saga(deadline=timedelta(hours=5)) as saga:
            await saga.execute(BookFlight(trip=request.trip))
            workflow.logger.info("at %s", workflow.now())
            await saga.execute(BookHotel(trip=request.trip))
            await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))
            return f"{workflow.uuid4()}"


@workflow.defn(name="Trip")
class NoDeadline(SagaWorkflow):
    """The same steps, with all the time in the world."""

    @workflow.run
    async def run(self, request: TripRequest) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=request.trip))
            await saga.execute(BookHotel(trip=request.trip))
            await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))


@workflow.defn(name="Trip")
class Nap(SagaWorkflow):
    """The same steps, with a rest between them."""

    @workflow.run
    async def run(self, request: TripRequest) -> None:
        async with self.saga(deadline=request.deadline) as saga:
            await saga.execute(BookFlight(trip=request.trip))
            await asyncio.sleep(7)
            await saga.execute(BookHotel(trip=request.trip))
            await saga.execute(ChargeCard(trip=request.trip))
            await saga.execute(SendTickets(trip=request.trip))


@workflow.defn(name="Outing")
class CheapOuting(Outing):
    """As a careless change would leave it: it sets less money aside."""

    @workflow.run
    async def run(self, request: OutingRequest) -> list[str]:
        return await super().run(request.model_copy(update={"amount": request.amount - 1}))

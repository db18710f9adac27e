"""Trips with `on_failure=Park(…)`: they wait for a person before they turn back."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

from counteract import Park, Rejected
from tests.travel.booking import BookFlight, BookHotel, ChargeCard, SendTickets
from tests.travel.races import Detour


@workflow.defn
class Patient(Detour):
    """Waits for `patience` seconds with whatever fails; its hotel and its flight are booked at once."""

    @workflow.run
    async def run(self, trip: str, patience: float = 3600) -> list[str]:
        async with self.saga(on_failure=Park(timeout=timedelta(seconds=patience))) as saga:
            booked = await saga.parallel(BookFlight(trip=trip), BookHotel(trip=trip))
            charge = await saga.execute(ChargeCard(trip=trip))
            await saga.execute(SendTickets(trip=trip))
            return [each.reference for each in (*booked, charge)]


@workflow.defn
class PatientWithTheHotel(Detour):
    """Waits for nothing else, and fails by its own code if told to."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            hotel = saga.execute(BookHotel(trip=trip), on_failure=Park(timeout=timedelta(hours=1)))
            await asyncio.gather(hotel, self.told_off())
            await saga.execute(ChargeCard(trip=trip))

    async def told_off(self) -> None:
        await self.until_told()
        raise Rejected("told off")


WORKFLOWS = [Patient, PatientWithTheHotel]

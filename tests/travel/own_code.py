"""Trips whose own code raises, catches, limits and groups in every way that asyncio offers."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from counteract import Rejected, Retry
from tests.travel.booking import QUICK, BookFlight, BookHotel, BookSauna, ChargeCard, RentBoat, RentCar, SendTickets
from tests.travel.races import Detour


class Limits(BaseModel):
    """What one call overrides of its command's own settings."""

    attempt_timeout: timedelta | None = None
    timeout: timedelta | None = None
    attempts: int | None = None


@workflow.defn
class InAHurry(Detour):
    """Gives the hotel limits of its own."""

    @workflow.run
    async def run(self, trip: str, limits: Limits) -> None:
        retry = Retry(initial=QUICK.initial, maximum=QUICK.maximum, attempts=limits.attempts)
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            await saga.execute(
                BookHotel(trip=trip), attempt_timeout=limits.attempt_timeout, timeout=limits.timeout, retry=retry
            )


@workflow.defn
class TakesACar(Detour):
    """Needs a service that nobody offers."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            await saga.execute(RentCar(trip=trip))


@workflow.defn
class TakesABoat(Detour):
    """Needs a service whose worker is not to be relied upon."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            await saga.execute(RentBoat(trip=trip))


@workflow.defn
class GoesToTheSauna(Detour):
    """Orders what the service does not know."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            await saga.execute(BookSauna(trip=trip))


@workflow.defn
class BooksInTwoGroups(Detour):
    """Flights at once, then hotels at once, then the money."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.parallel(*(BookFlight(trip=trip) for _ in range(3)))
            await saga.parallel(*(BookHotel(trip=trip) for _ in range(3)))
            await saga.execute(ChargeCard(trip=trip))


@workflow.defn
class RaisesItsOwn(Detour):
    """Fails as any Temporal workflow may."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            raise ApplicationError("no visa", type="VisaMissing")


@workflow.defn
class HasABug(Detour):
    """Looks for what is not there."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            raise KeyError("visa")


@workflow.defn
class PaysTwice(Detour):
    """Breaks a rule of sagas."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(ChargeCard(trip=trip))
            await saga.execute(ChargeCard(trip=trip))


@workflow.defn
class TriesAnotherHotel(Detour):
    """Does not give up at the first refusal."""

    @workflow.run
    async def run(self, trip: str) -> str:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            try:
                hotel = await saga.execute(BookHotel(trip=trip))
            except Rejected:
                hotel = await saga.execute(BookHotel(trip=trip))
            await saga.execute(ChargeCard(trip=trip))
            return hotel.reference


@workflow.defn
class Gathers(Detour):
    """Awaits both with `asyncio.gather`."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await asyncio.gather(saga.execute(BookFlight(trip=trip)), saga.execute(BookHotel(trip=trip)))


@workflow.defn
class CatchesTheGroup(Detour):
    """Goes on after a task group of which a part was refused."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(saga.execute(BookFlight(trip=trip)))
                    group.create_task(saga.execute(BookHotel(trip=trip)))
            except* Rejected:
                pass
            await saga.execute(ChargeCard(trip=trip))


@workflow.defn
class RunsOutOfTime(Detour):
    """Limits a step with `asyncio.timeout`, and lets the error through."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            async with asyncio.timeout(0.3):
                await saga.execute(BookHotel(trip=trip))


@workflow.defn
class LimitsThePivot(Detour):
    """Stops waiting for the pivot, as far as that is possible, and goes on."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            try:
                async with asyncio.timeout(0.2):
                    await saga.execute(ChargeCard(trip=trip))
            except TimeoutError:
                pass
            await saga.execute(SendTickets(trip=trip))


@workflow.defn
class PaysInTheBackground(Detour):
    """Waits for something else while the pivot is in flight."""

    @workflow.run
    async def run(self, trip: str, deadline: timedelta | None = None) -> None:
        async with self.saga(deadline=deadline) as saga:
            await saga.execute(BookFlight(trip=trip))
            self.payment = asyncio.create_task(saga.execute(ChargeCard(trip=trip)))
            await self.until_told()
            await self.payment


@workflow.defn
class OnlyBooks(Detour):
    """Has no pivot."""

    @workflow.run
    async def run(self, trip: str, deadline: timedelta | None = None) -> None:
        async with self.saga(deadline=deadline) as saga:
            await saga.execute(BookFlight(trip=trip))


@workflow.defn
class IgnoresItsCancellation(Detour):
    """Catches what was to stop it, and goes on."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            try:
                await self.until_told()
            except asyncio.CancelledError:
                await saga.execute(BookHotel(trip=trip))


@workflow.defn
class LeavesWhenCancelled(Detour):
    """Catches what was to stop it, and calls it a day."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            with contextlib.suppress(asyncio.CancelledError):
                await self.until_told()


@workflow.defn
class AddsOnRequest(Detour):
    """Sends out a step from the handler of a signal, and another when told to go on."""

    @workflow.run
    async def run(self, trip: str) -> None:
        self.trip = trip
        async with self.saga() as self.opened:
            await self.opened.execute(BookFlight(trip=trip))
            await self.until_told()
            await self.opened.execute(ChargeCard(trip=trip))

    @workflow.signal
    async def add_a_hotel(self) -> None:
        await self.opened.execute(BookHotel(trip=self.trip))


@workflow.defn
class CarriesTooMuch(Detour):
    """Orders more than the server takes."""

    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=trip))
            await saga.execute(BookHotel(trip=trip + "x" * 3 * 1024 * 1024))


WORKFLOWS = (
    InAHurry,
    TakesACar,
    TakesABoat,
    GoesToTheSauna,
    BooksInTwoGroups,
    RaisesItsOwn,
    HasABug,
    PaysTwice,
    TriesAnotherHotel,
    Gathers,
    CatchesTheGroup,
    RunsOutOfTime,
    LimitsThePivot,
    PaysInTheBackground,
    OnlyBooks,
    IgnoresItsCancellation,
    LeavesWhenCancelled,
    AddsOnRequest,
    CarriesTooMuch,
)

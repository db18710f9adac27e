"""Sagas whose own code takes ways that those of the other tests do not take."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow

from counteract import Retriable
from counteract.errors import StepFailed
from counteract.saga import SagaWorkflow
from tests.travel.booking import QUICK, Booked, BookFlight, BookHotel, ChargeCard
from tests.travel.trips import TripRequest

PATIENCE = 0.5
"""Seconds that a saga waits for its pivot."""


class PrintVoucher(Retriable[Booked], service="airline", attempt_timeout=timedelta(seconds=2), retry=QUICK):
    """A command after the pivot with a result, as few of them have."""

    trip: str


@workflow.defn
class Hasty(SagaWorkflow):
    """A flight and a hotel in tasks of the saga's code, left alone if one fails; then a pivot, and a voucher.

    It does not wait long for the pivot, and prints the voucher only if that was in time.
    """

    @workflow.run
    async def run(self, request: TripRequest) -> str:
        async with self.saga() as saga:
            await asyncio.gather(
                saga.execute(BookFlight(trip=request.trip)), saga.execute(BookHotel(trip=request.trip))
            )
            try:
                async with asyncio.timeout(PATIENCE):
                    await saga.execute(ChargeCard(trip=request.trip))
            except TimeoutError:
                return "no voucher"
            voucher = await saga.execute(PrintVoucher(trip=request.trip))
            return voucher.reference


@workflow.defn
class Flexible(SagaWorkflow):
    """A saga with a flight, a hotel that it can do without, and the money."""

    @workflow.run
    async def run(self, request: TripRequest) -> None:
        async with self.saga() as saga:
            await saga.execute(BookFlight(trip=request.trip))
            with contextlib.suppress(StepFailed):
                await saga.execute(BookHotel(trip=request.trip))
            await saga.execute(ChargeCard(trip=request.trip))


@workflow.defn
class Careless(SagaWorkflow):
    """A saga that leaves its block while a task of its own still sends steps."""

    @workflow.run
    async def run(self, request: TripRequest) -> None:
        async with self.saga() as saga:

            async def both() -> None:
                await saga.execute(BookFlight(trip=request.trip))
                await saga.execute(BookHotel(trip=request.trip))

            self.rest = asyncio.create_task(both())
            await asyncio.sleep(0)

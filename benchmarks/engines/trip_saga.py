"""The trip as a saga of Counteract."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from benchmarks.engines.trip import BookFlight, BookHotel, ChargeCard, Done, SendTickets, TripRequest
from counteract.saga import SagaWorkflow


@workflow.defn
class TripSaga(SagaWorkflow):
    """The trip, with a deadline, as every saga in production has."""

    @workflow.run
    async def run(self, request: TripRequest) -> Done:
        async with self.saga(deadline=timedelta(minutes=5)) as saga:
            await saga.execute(BookFlight(trip=request.trip))
            await saga.execute(BookHotel(trip=request.trip))
            await saga.execute(ChargeCard(trip=request.trip))
            return await saga.execute(SendTickets(trip=request.trip))

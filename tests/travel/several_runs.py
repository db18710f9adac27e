"""Journeys that are too long for one run: each run books a leg and continues as new."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel
from temporalio import workflow

from counteract import SagaWorkflow
from tests.travel.booking import BookFlight, BookHotel, ChargeCard, SendTickets
from tests.travel.trips import TripRequest


class Leg(BaseModel):
    """How far the journey has come, and which turn it takes."""

    trip: TripRequest
    done: int = 0
    legs: int = 3
    idle_runs: int = 0
    """So many runs before it opens its saga."""
    nap: float = 0
    """In seconds, before it continues."""
    hasty: bool = False
    """It does not wait for what it has begun."""
    pays_first: bool = False
    """It continues past its pivot."""


@workflow.defn
class Journey(SagaWorkflow):
    """A flight per leg, then the money, then the tickets."""

    @workflow.run
    async def run(self, leg: Leg) -> list[str]:
        if leg.idle_runs:
            workflow.continue_as_new(leg.model_copy(update={"idle_runs": leg.idle_runs - 1}))
        further = leg.model_copy(update={"done": leg.done + 1})
        trip = leg.trip.trip
        async with self.saga(deadline=leg.trip.deadline) as saga:
            if leg.done < leg.legs:
                await saga.execute(BookFlight(trip=trip, seats=leg.done + 1))
                if leg.hasty:
                    asyncio.create_task(saga.execute(BookHotel(trip=trip)))  # noqa: RUF006
                    await asyncio.sleep(0)
                await asyncio.sleep(leg.nap)
                workflow.continue_as_new(further)
            if leg.done == leg.legs:
                await saga.execute(ChargeCard(trip=trip))
                if leg.pays_first:
                    await asyncio.sleep(leg.nap)
                    workflow.continue_as_new(further)
            await saga.execute(SendTickets(trip=trip))
            return [step.step for step in saga.report().steps]

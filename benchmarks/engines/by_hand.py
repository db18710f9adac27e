"""The trip on Temporal alone, as a careful engineer writes it: an activity per step, try/except, undo in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from benchmarks.engines.by_hand_steps import Steps
    from benchmarks.engines.trip import Done, TripRequest

BY_HAND = "trips-by-hand"
BY_HAND_STEPS = "steps-by-hand"

LIMIT = timedelta(seconds=10)
OVERALL = timedelta(minutes=1)
DEADLINE = timedelta(minutes=5)


@workflow.defn
class TripByHand:
    """The trip: flight, hotel, money, tickets."""

    @workflow.run
    async def run(self, request: TripRequest) -> Done:
        undo = []
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                # Before the step: one that timed out may have happened.
                undo.append(Steps.cancel_flight)
                await step(Steps.book_flight, request)
                undo.append(Steps.cancel_hotel)
                await step(Steps.book_hotel, request)
                await step(Steps.charge_card, request)
        except (ActivityError, TimeoutError):
            for compensation in reversed(undo):
                await workflow.execute_activity_method(
                    compensation, request, task_queue=request.steps, start_to_close_timeout=LIMIT
                )
            raise
        return await step(Steps.send_tickets, request)


async def step(activity: Callable[[Steps, TripRequest], Awaitable[Done]], request: TripRequest) -> Done:
    return await workflow.execute_activity_method(
        activity,
        request,
        task_queue=request.steps,
        start_to_close_timeout=LIMIT,
        schedule_to_close_timeout=OVERALL,
    )

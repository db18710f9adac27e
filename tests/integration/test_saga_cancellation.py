"""Sagas that are cancelled, at every point of their way."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from counteract.saga import SagaStatus
from tests.travel.agency import Agency, hang_until_cancelled, refuse, wait_for
from tests.travel.following import (
    SAGAS,
    cancelled,
    completed,
    done,
    lifecycle,
    reported,
    start,
    until_interrupted,
    until_logged,
)
from tests.travel.trips import Trip, TripRequest

pytestmark = pytest.mark.integration

FORWARD = ["BookFlight", "BookHotel", "ChargeCard", "SendTickets"]


async def test_cancellation_between_steps_undoes_and_ends_cancelled(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, sleep_before_pivot=60)
    await until_logged(agency, trip, "BookHotel done")

    await handle.cancel()
    report = await cancelled(agency, handle)

    assert report.status is SagaStatus.COMPENSATED
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_cancellation_within_a_step_waits_for_it_to_end_and_undoes_it(agency: Agency, trip: str) -> None:
    began = asyncio.Event()
    agency.script(trip, "BookHotel", hang_until_cancelled(began))
    handle = await start(agency, trip)
    await began.wait()

    await handle.cancel()
    report = await cancelled(agency, handle)

    assert report.steps[1].outcome == "unknown"
    assert done(agency, trip) == ["BookFlight", "CancelHotel", "CancelFlight"]


async def test_cancellation_swallowed_by_a_step_that_completes_anyway_still_undoes(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", wait_for(release, began))
    handle = await start(agency, trip)
    await began.wait()

    await handle.cancel()
    await until_interrupted(handle)
    release.set()
    report = await cancelled(agency, handle)

    assert report.steps[1].outcome == "applied"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_repeated_cancellation_does_not_stop_the_undo(agency: Agency, trip: str) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "CancelHotel", wait_for(release, undoing))
    handle = await start(agency, trip, sleep_before_pivot=60)
    await until_logged(agency, trip, "BookHotel done")

    await handle.cancel()
    await undoing.wait()
    await handle.cancel()
    await handle.cancel()
    release.set()
    report = await cancelled(agency, handle)

    assert [step.undo for step in report.steps] == ["undone", "undone"]
    assert done(agency, trip).count("CancelHotel") == 1


async def test_cancellation_before_the_first_step_leaves_nothing_behind(agency: Agency, trip: str) -> None:
    handle = await agency.client.start_workflow(
        Trip.run, TripRequest(trip=trip), id=trip, task_queue=SAGAS, start_delay=timedelta(milliseconds=300)
    )
    await handle.cancel()

    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert isinstance(failed.value.cause, CancelledError)
    assert done(agency, trip) == []
    assert lifecycle(agency, trip) == []


async def test_cancellation_after_the_pivot_finishes_forward(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, sleep_after_pivot=1)
    await until_logged(agency, trip, "ChargeCard done")

    await handle.cancel()

    assert len(await completed(agency, handle)) == 3
    assert done(agency, trip) == FORWARD
    assert (await reported(handle)).cause == "cancelled"


async def test_cancellation_within_the_pivot_finishes_forward_when_it_happened(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began))
    handle = await start(agency, trip)
    await began.wait()

    await handle.cancel()
    release.set()

    assert len(await completed(agency, handle)) == 3
    assert done(agency, trip) == FORWARD


async def test_cancellation_within_the_pivot_undoes_when_it_was_refused(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began, refuse("no money")))
    handle = await start(agency, trip)
    await began.wait()

    await handle.cancel()
    release.set()
    await cancelled(agency, handle)

    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]

"""Sagas that are cancelled, at every point of their way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from counteract.saga import SagaStatus
from tests.travel import own_code
from tests.travel.agency import (
    Agency,
    hang_until_cancelled,
    refuse,
    wait_for,
)
from tests.travel.agency_sagas import (
    SAGAS,
    calls,
    cancelled,
    compensated,
    completed,
    done,
    reported,
    start,
    start_detour,
    until_interrupted,
    until_logged,
    until_recorded,
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

    await cancelled(agency, handle)

    assert done(agency, trip) == []


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


async def test_cancellation_of_a_saga_that_is_paused_before_its_first_step_undoes_nothing(
    agency: Agency, trip: str
) -> None:
    handle = await start_detour(agency, own_code.OnlyBooks, trip, start_signal="pause")
    await until_recorded(agency, trip)

    await handle.cancel()
    await cancelled(agency, handle)

    assert calls(agency, trip) == []


async def test_cancellation_swallowed_by_the_last_step_still_undoes(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookFlight", wait_for(release, began))
    handle = await start_detour(agency, own_code.OnlyBooks, trip)
    await began.wait()

    await handle.cancel()
    await until_interrupted(handle)
    release.set()
    await cancelled(agency, handle)

    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_no_step_begins_once_the_saga_is_cancelled_even_if_its_code_goes_on(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, own_code.IgnoresItsCancellation, trip)
    await until_logged(agency, trip, "BookFlight done")

    await handle.cancel()
    await cancelled(agency, handle)

    assert calls(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_a_saga_whose_code_catches_its_cancellation_and_ends_is_undone_all_the_same(
    agency: Agency, trip: str
) -> None:
    handle = await start_detour(agency, own_code.LeavesWhenCancelled, trip)
    await until_logged(agency, trip, "BookFlight done")

    await handle.cancel()
    await cancelled(agency, handle)

    assert calls(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_cancellation_within_the_undo_of_a_refused_saga_changes_nothing(agency: Agency, trip: str) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", wait_for(release, undoing))
    handle = await start(agency, trip)
    await undoing.wait()

    await handle.cancel()
    release.set()
    report = await compensated(agency, handle)

    assert report.cause == f"no money (trip='{trip}')"
    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]


async def test_cancellation_of_parallel_steps_settles_and_undoes_each(agency: Agency, trip: str) -> None:
    began = asyncio.Barrier(4)

    async def hang(command: Any, dispatch: Any) -> None:
        await began.wait()
        await asyncio.Event().wait()

    agency.script(trip, "BookFlight", hang)
    handle = await start(agency, trip, flights=3)
    await began.wait()

    await handle.cancel()
    report = await cancelled(agency, handle)

    assert [(step.outcome, step.undo) for step in report.steps] == [("unknown", "undone")] * 3


async def test_a_saga_that_is_cancelled_and_then_late_ends_cancelled(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", wait_for(release, began))
    handle = await start(agency, trip, deadline=timedelta(milliseconds=600))
    await began.wait()

    await handle.cancel()
    await asyncio.sleep(1.3)
    release.set()
    report = await cancelled(agency, handle)

    assert report.cause == "cancelled"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_cancellation_that_waited_for_a_refused_pivot_reaches_whatever_the_saga_waits_for(
    agency: Agency, trip: str
) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began, refuse("no money")))
    handle = await start_detour(agency, own_code.PaysInTheBackground, trip)
    await began.wait()

    await handle.cancel()
    await until_interrupted(handle)
    release.set()
    async with asyncio.timeout(1.5):
        await cancelled(agency, handle)

    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_a_paused_saga_that_is_cancelled_is_undone_without_being_resumed(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookFlight", wait_for(release, began))
    handle = await start(agency, trip)
    await began.wait()
    await handle.signal("pause")
    release.set()
    await until_logged(agency, trip, "BookFlight done")

    await handle.cancel()
    await cancelled(agency, handle)

    assert calls(agency, trip) == ["BookFlight", "CancelFlight"]

"""Sagas whose deadline passes, at every point of their way."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from tests.travel import own_code
from tests.travel.agency import (
    Agency,
    hang_until_cancelled,
    refuse,
    wait_for,
)
from tests.travel.agency_sagas import (
    compensated,
    completed,
    done,
    failed,
    reported,
    start,
    start_detour,
    until_interrupted,
)

pytestmark = pytest.mark.integration

FORWARD = ["BookFlight", "BookHotel", "ChargeCard", "SendTickets"]
SOON = timedelta(milliseconds=900)


async def test_a_deadline_undoes_and_says_so(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, sleep_before_pivot=60, deadline=timedelta(milliseconds=700))

    report = await compensated(agency, handle)

    assert report.cause == "deadline passed"
    first = (await failed(handle)).__cause__
    assert isinstance(first, ApplicationError)
    assert first.type == "TimeoutError"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_a_deadline_within_a_step_stops_it_and_undoes_it(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", hang_until_cancelled(asyncio.Event()))

    report = await compensated(agency, await start(agency, trip, deadline=SOON))

    assert report.cause == "deadline passed"
    assert report.steps[1].outcome == "unknown"
    assert done(agency, trip) == ["BookFlight", "CancelHotel", "CancelFlight"]


async def test_a_deadline_swallowed_by_a_step_that_completes_anyway_still_undoes(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", wait_for(release, began))
    handle = await start(agency, trip, deadline=SOON)

    await until_interrupted(handle)
    release.set()
    report = await compensated(agency, handle)

    assert report.steps[1].outcome == "applied"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_a_deadline_swallowed_by_the_last_step_still_undoes(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookFlight", wait_for(release, began))
    handle = await start_detour(agency, own_code.OnlyBooks, trip, SOON)

    await until_interrupted(handle)
    release.set()
    await compensated(agency, handle)

    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_a_deadline_within_a_pivot_that_happens_finishes_forward(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began))
    handle = await start(agency, trip, deadline=SOON)

    await until_interrupted(handle)
    release.set()
    await completed(agency, handle)

    assert began.is_set()
    assert done(agency, trip) == FORWARD
    assert (await reported(handle)).cause == "deadline passed"


async def test_a_deadline_within_a_pivot_that_is_refused_undoes(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began, refuse("no money")))
    handle = await start(agency, trip, deadline=SOON)

    await until_interrupted(handle)
    release.set()
    report = await compensated(agency, handle)

    assert report.cause == "deadline passed"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_a_deadline_after_the_pivot_is_no_concern_of_the_saga(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, sleep_after_pivot=0.7, deadline=SOON)

    await completed(agency, handle)

    assert done(agency, trip) == FORWARD


async def test_a_deadline_within_an_undo_does_not_stop_it(agency: Agency, trip: str) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", wait_for(release, undoing))
    handle = await start(agency, trip, deadline=SOON)
    await undoing.wait()

    await asyncio.sleep(SOON.total_seconds())
    release.set()
    report = await compensated(agency, handle)

    assert report.cause == f"no money (trip='{trip}')"
    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]


async def test_a_deadline_of_a_paused_saga_undoes_it(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, own_code.OnlyBooks, trip, SOON, start_signal="pause")

    report = await compensated(agency, handle)

    assert (report.cause, report.steps) == ("deadline passed", ())


async def test_a_saga_that_is_late_and_then_cancelled_says_that_it_was_late(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", wait_for(release, began))
    handle = await start(agency, trip, deadline=SOON)

    await until_interrupted(handle)
    await handle.cancel()
    await asyncio.sleep(0.2)
    release.set()
    report = await compensated(agency, handle)

    assert report.cause == "deadline passed"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_a_deadline_that_waited_for_a_refused_pivot_reaches_whatever_the_saga_waits_for(
    agency: Agency, trip: str
) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began, refuse("no money")))
    handle = await start_detour(agency, own_code.PaysInTheBackground, trip, SOON)

    await until_interrupted(handle)
    release.set()
    async with asyncio.timeout(1.5):
        await compensated(agency, handle)

    assert done(agency, trip) == ["BookFlight", "CancelFlight"]

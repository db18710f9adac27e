"""A saga that continues as new: each run goes on where the one before stopped, and the last one undoes them all."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.travel.agency import Agency, refuse
from tests.travel.agency_sagas import (
    SAGAS,
    Handle,
    cancelled,
    compensated,
    completed,
    done,
    lifecycle,
    reported,
    until,
    until_logged,
    wrong_in_its_code,
)
from tests.travel.several_runs import Journey, Leg
from tests.travel.trips import TripRequest

pytestmark = pytest.mark.integration


async def start(agency: Agency, trip: str, *, deadline: timedelta | None = None, **leg: Any) -> Handle:
    request = Leg(trip=TripRequest(trip=trip, deadline=deadline), **leg)
    await agency.client.start_workflow(Journey.run, request, id=trip, task_queue=SAGAS)
    # Without a run, so that it follows the saga into the last one.
    return agency.client.get_workflow_handle(trip)


async def test_every_step_of_every_run_is_sent_once_under_a_key_of_its_own(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip)

    assert await completed(agency, handle) == [
        "BookFlight",
        "BookFlight#2",
        "BookFlight#3",
        "ChargeCard",
        "SendTickets",
    ]
    assert len({each.command_id for each in agency.dispatches[trip]}) == 5
    assert lifecycle(agency, trip) == ["SagaStarted", "SagaCompleted"]
    assert (await handle.describe()).raw_info.first_run_id != (await handle.describe()).run_id


async def test_the_last_run_undoes_what_all_runs_did_in_reverse(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    handle = await start(agency, trip)

    report = await compensated(agency, handle)

    assert [step.undo for step in report.steps] == ["undone", "undone", "undone", None]
    undone = [each for each in agency.dispatches[trip] if each.undoes]
    assert [each.step for each in undone] == ["BookFlight#3", "BookFlight#2", "BookFlight"]
    sent = {each.step: each.command_id for each in agency.dispatches[trip] if not each.undoes}
    assert [each.undoes for each in undone] == [sent[each.step] for each in undone]


async def test_the_deadline_counts_over_all_runs(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, legs=1000, nap=0.2, deadline=timedelta(seconds=2))

    report = await compensated(agency, handle)

    assert report.cause == "deadline passed"
    assert 2 <= done(agency, trip).count("BookFlight") <= 10


async def test_past_its_pivot_a_cancelled_saga_goes_on_to_its_end_in_the_next_run(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, legs=0, pays_first=True, nap=0.5)
    await until_logged(agency, trip, "ChargeCard done")
    await handle.cancel()

    assert await completed(agency, handle) == ["ChargeCard", "SendTickets"]
    report = await reported(handle)
    assert (report.past_pivot, report.cause) == (True, "cancelled")


async def test_a_saga_that_is_cancelled_between_its_runs_is_undone(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, nap=0.3)
    await until_logged(agency, trip, "BookFlight done")
    await asyncio.sleep(0.3)
    await handle.cancel()

    await cancelled(agency, handle)

    flights = done(agency, trip)
    assert flights.count("BookFlight") == flights.count("CancelFlight") > 0


async def test_a_paused_saga_is_still_paused_in_its_next_run(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, legs=1, nap=0.3)
    await until_logged(agency, trip, "BookFlight done")
    first = (await handle.describe()).run_id
    await handle.signal("pause")

    async def continued() -> bool:
        return (await handle.describe()).run_id != first and (await reported(handle)).paused

    await until(continued)
    await asyncio.sleep(0.2)
    assert done(agency, trip) == ["BookFlight"]
    await handle.signal("resume")
    await completed(agency, handle)


async def test_a_saga_may_begin_in_a_later_run(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, idle_runs=2, legs=1)

    assert await completed(agency, handle) == ["BookFlight", "ChargeCard", "SendTickets"]


async def test_a_saga_does_not_leave_a_step_behind_that_is_in_flight(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, legs=1, hasty=True)

    assert "BookHotel is in flight" in await wrong_in_its_code(handle)
    await handle.terminate()

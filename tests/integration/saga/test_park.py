"""`on_failure=Park(…)`: a failed step waits for a person before the saga turns back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from counteract.saga import SagaStatus
from tests.travel.agency import Agency, fail, hang_until_cancelled, refuse, succeed, wait_for
from tests.travel.agency_sagas import (
    calls,
    cancelled,
    compensated,
    completed,
    done,
    lifecycle,
    reported,
    resolve,
    start_detour,
    until,
    until_logged,
    until_stuck,
)
from tests.travel.park_on_failure import Patient, PatientWithTheHotel

pytestmark = pytest.mark.integration


async def test_a_refused_step_waits_and_is_tried_again_as_a_new_command(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"), succeed)
    handle = await start_detour(agency, Patient, trip)
    await until_stuck(handle)
    await until_logged(agency, trip, "BookFlight done")

    assert "Cancel" not in "".join(calls(agency, trip))
    await resolve(handle, "BookHotel", "retry")

    assert await completed(agency, handle) == [
        f"{step} of {trip}" for step in ("BookFlight", "BookHotel~1", "ChargeCard")
    ]
    assert lifecycle(agency, trip) == ["SagaStarted", "SagaStuck", "SagaResolved", "SagaCompleted"]


async def test_what_an_unanswered_step_may_have_done_is_undone_before_it_is_tried_again(
    agency: Agency, trip: str
) -> None:
    agency.script(trip, "BookHotel", fail("no answer", final=True), succeed)
    handle = await start_detour(agency, Patient, trip)
    await until_stuck(handle)

    await resolve(handle, "BookHotel", "retry")
    await completed(agency, handle)

    hotel = [call for call in done(agency, trip) if "Hotel" in call]
    assert hotel == ["CancelHotel", "BookHotel"]
    first, undo, second = (each for each in agency.dispatches[trip] if "BookHotel" in each.step)
    assert undo.undoes == first.command_id != second.command_id


async def test_the_second_attempt_is_what_is_undone_when_the_saga_turns_back_later(agency: Agency, trip: str) -> None:
    asked: list[Any] = []

    async def note(command: Any, dispatch: Any) -> None:
        asked.append(dispatch)

    agency.script(trip, "BookFlight", fail("no answer", final=True), succeed)
    agency.script(trip, "CancelFlight", note)
    agency.script(trip, "ChargeCard", refuse("no money"))
    handle = await start_detour(agency, Patient, trip)
    await until_stuck(handle)
    await resolve(handle, "BookFlight", "retry", command={"trip": trip, "seats": 3})
    await until_logged(agency, trip, "ChargeCard")
    await until_stuck(handle)

    await resolve(handle, "ChargeCard", "fail")
    await compensated(agency, handle)

    first, second = [each for each in agency.dispatches[trip] if each.undoes is None and "BookFlight" in each.step]
    assert [each.undoes for each in asked] == [first.command_id, second.command_id]


async def test_a_refused_pivot_is_tried_again_and_the_saga_completes(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"), succeed)
    handle = await start_detour(agency, Patient, trip)
    await until_stuck(handle)

    with pytest.raises(WorkflowUpdateFailedError) as nonsense:
        await resolve(handle, "ChargeCard", "skip")
    assert "only by retry or fail" in str(nonsense.value.cause)
    await resolve(handle, "ChargeCard", "retry")

    await completed(agency, handle)
    assert (await reported(handle)).past_pivot


async def test_a_skipped_step_goes_on_with_the_given_result_and_is_not_undone(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"))
    handle = await start_detour(agency, Patient, trip)
    await until_stuck(handle)

    with pytest.raises(WorkflowUpdateFailedError) as nonsense:
        await resolve(handle, "BookHotel", "skip")
    assert "the result to go on with of BookHotel is not valid" in str(nonsense.value.cause)
    await resolve(handle, "BookHotel", "skip", result={"reference": "by phone"})

    assert "by phone" in await completed(agency, handle)
    assert "CancelHotel" not in calls(agency, trip)


async def test_nobody_deciding_in_time_lets_the_step_fail(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"))
    handle = await start_detour(agency, Patient, trip, 0.5)

    report = await compensated(agency, handle)

    assert report.cause == f"fully booked (trip='{trip}')"
    assert done(agency, trip) == ["BookFlight", "CancelFlight"]
    assert lifecycle(agency, trip) == ["SagaStarted", "SagaStuck", "SagaCompensated"]


@pytest.mark.parametrize("step", ["BookHotel", "ChargeCard"])
async def test_a_cancelled_saga_does_not_wait_for_a_person(agency: Agency, trip: str, step: str) -> None:
    agency.script(trip, step, refuse("no"))
    handle = await start_detour(agency, Patient, trip)
    await until_stuck(handle)

    await handle.cancel()
    await cancelled(agency, handle)

    assert "CancelFlight" in done(agency, trip)


async def test_a_saga_whose_code_fails_elsewhere_does_not_wait_for_a_person(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", fail("no answer", final=True))
    handle = await start_detour(agency, PatientWithTheHotel, trip)
    await until_stuck(handle)

    await handle.signal("go_on")
    report = await compensated(agency, handle)

    assert report.cause == "told off"
    assert done(agency, trip) == ["BookFlight", "CancelHotel", "CancelFlight"]


async def test_a_cancellation_while_the_old_attempt_is_undone_waits_for_that_undo(agency: Agency, trip: str) -> None:
    release, began = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", fail("no answer", final=True), hang_until_cancelled(asyncio.Event()))
    agency.script(trip, "CancelHotel", wait_for(release, began))
    handle = await start_detour(agency, Patient, trip)
    await until_stuck(handle)
    await resolve(handle, "BookHotel", "retry")
    await began.wait()

    await handle.cancel()

    async def noticed() -> bool:
        return (await reported(handle)).cause == "cancelled"

    await until(noticed)
    release.set()
    report = await cancelled(agency, handle)

    assert report.status is SagaStatus.COMPENSATED
    assert calls(agency, trip).count("BookHotel") == 1
    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]

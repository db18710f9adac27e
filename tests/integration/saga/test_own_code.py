"""What a saga's own code may do between and around its steps: raise, catch, limit, and do several things at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from tests.travel import own_code
from tests.travel.agency import (
    Agency,
    hang_until_cancelled,
    refuse,
    succeed,
    wait_for,
)
from tests.travel.agency_sagas import (
    calls,
    cancelled,
    compensated,
    completed,
    done,
    failed,
    lifecycle,
    start_detour,
    until_interrupted,
    until_logged,
    wrong_in_its_code,
)

pytestmark = pytest.mark.integration


async def test_an_error_that_the_sagas_own_code_raises_undoes_and_is_the_cause(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, own_code.RaisesItsOwn, trip)

    report = await compensated(agency, handle)
    error = await failed(handle)

    assert report.cause == "VisaMissing: no visa"
    assert isinstance(error.__cause__, ApplicationError)
    assert error.__cause__.type == "VisaMissing"
    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_a_bug_in_the_sagas_own_code_undoes_nothing_and_leaves_it_running(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, own_code.HasABug, trip)

    assert "visa" in await wrong_in_its_code(handle)
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    assert calls(agency, trip) == ["BookFlight"]
    assert lifecycle(agency, trip) == ["SagaStarted"]
    await handle.terminate()


async def test_a_second_pivot_fails_the_task_and_not_the_saga(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, own_code.PaysTwice, trip)

    assert "second pivot after ChargeCard" in await wrong_in_its_code(handle)
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    assert calls(agency, trip) == ["ChargeCard"]
    await handle.terminate()


async def test_an_order_too_large_to_be_sent_undoes_the_saga(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, own_code.CarriesTooMuch, trip)

    cause = (await compensated(agency, handle)).cause

    assert cause is not None
    assert "BookHotel cannot be sent: has 3145" in cause
    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_a_saga_that_catches_a_refusal_goes_on_with_another_step(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"), succeed)

    handle = await start_detour(agency, own_code.TriesAnotherHotel, trip)

    assert await completed(agency, handle) == f"BookHotel#2 of {trip}"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "ChargeCard"]


async def test_a_refusal_in_a_gather_settles_and_undoes_what_else_was_in_flight(agency: Agency, trip: str) -> None:
    flying, release = asyncio.Event(), asyncio.Event()

    async def refuse_meanwhile(command: Any, dispatch: Any) -> Any:
        await flying.wait()
        return await refuse("fully booked")(command, dispatch)

    agency.script(trip, "BookFlight", wait_for(release, flying))
    agency.script(trip, "BookHotel", refuse_meanwhile)
    handle = await start_detour(agency, own_code.Gathers, trip)
    await until_interrupted(handle)
    await asyncio.sleep(0.2)
    assert "CancelFlight" not in agency.log[trip], "an undo ran while a step was in flight"

    release.set()
    report = await compensated(agency, handle)

    assert report.cause == f"fully booked (trip='{trip}')"
    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_steps_in_a_gather_that_all_succeed_complete_the_saga(agency: Agency, trip: str) -> None:
    await completed(agency, await start_detour(agency, own_code.Gathers, trip))

    assert sorted(done(agency, trip)) == ["BookFlight", "BookHotel"]


async def test_what_a_task_group_left_applied_is_undone_before_the_pivot_when_its_refusal_is_caught(
    agency: Agency, trip: str
) -> None:
    flying, release = asyncio.Event(), asyncio.Event()

    async def refuse_meanwhile(command: Any, dispatch: Any) -> Any:
        await flying.wait()
        asyncio.get_running_loop().call_later(0.3, release.set)
        return await refuse("fully booked")(command, dispatch)

    agency.script(trip, "BookFlight", wait_for(release, flying))
    agency.script(trip, "BookHotel", refuse_meanwhile)

    await completed(agency, await start_detour(agency, own_code.CatchesTheGroup, trip))

    assert done(agency, trip) == ["BookFlight", "CancelFlight", "ChargeCard"]


async def test_a_timeout_of_the_sagas_own_around_a_step_undoes_when_it_is_not_caught(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", hang_until_cancelled(asyncio.Event()))

    report = await compensated(agency, await start_detour(agency, own_code.RunsOutOfTime, trip))

    assert report.cause == "TimeoutError"
    assert done(agency, trip) == ["BookFlight", "CancelHotel", "CancelFlight"]


async def test_a_timeout_of_the_sagas_own_does_not_part_it_from_a_pivot_in_flight(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began))
    handle = await start_detour(agency, own_code.LimitsThePivot, trip)
    await began.wait()

    await asyncio.sleep(0.5)
    assert calls(agency, trip) == ["BookFlight", "ChargeCard"]
    release.set()
    await completed(agency, handle)

    assert done(agency, trip) == ["BookFlight", "ChargeCard", "SendTickets"]


async def test_a_refusal_in_the_handler_of_a_signal_undoes_the_saga(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"))
    handle = await start_detour(agency, own_code.AddsOnRequest, trip)
    await until_logged(agency, trip, "BookFlight done")

    await handle.signal("add_a_hotel")
    await compensated(agency, handle)

    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_cancellation_while_the_handler_of_a_signal_awaits_a_step_undoes_the_saga(
    agency: Agency, trip: str
) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", wait_for(release, began))
    handle = await start_detour(agency, own_code.AddsOnRequest, trip)
    await until_logged(agency, trip, "BookFlight done")
    await handle.signal("add_a_hotel")
    await began.wait()

    await handle.cancel()
    await until_interrupted(handle)
    release.set()
    await cancelled(agency, handle)

    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]

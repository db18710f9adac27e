"""How sagas end, with services that do as each test tells them."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from tests.travel.agency import Agency, fail, refuse, wait_for
from tests.travel.agency_sagas import (
    SAGAS,
    calls,
    compensated,
    completed,
    done,
    incomplete,
    lifecycle,
    start,
    until_logged,
)

pytestmark = pytest.mark.integration

FORWARD = ["BookFlight", "BookHotel", "ChargeCard", "SendTickets"]


async def test_a_saga_whose_steps_all_succeed_returns_its_result(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip)

    assert await completed(agency, handle) == [
        f"{step} of {trip}" for step in ("BookFlight", "BookHotel", "ChargeCard")
    ]
    assert calls(agency, trip) == FORWARD
    assert [record.event_type for record in agency.lifecycle[trip]] == ["SagaStarted", "SagaCompleted"]
    described = await handle.describe()
    assert described.search_attributes["SagaStatus"] == ["COMPLETED"]
    assert described.search_attributes["SagaStep"] == ["SendTickets"]


async def test_a_refusal_undoes_what_was_done_in_reverse_order_and_not_the_refused_step(
    agency: Agency, trip: str
) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))

    report = await compensated(agency, await start(agency, trip))

    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]
    assert report.cause == f"no money (trip='{trip}')"
    assert [(step.step, step.undo) for step in report.steps] == [
        ("BookFlight", "undone"),
        ("BookHotel", "undone"),
        ("ChargeCard", None),
    ]


async def test_the_cause_of_a_compensated_saga_is_its_first_failure(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"))
    handle = await start(agency, trip)

    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert failed.value.cause is not None
    first = failed.value.cause.__cause__
    assert isinstance(first, ApplicationError)
    assert first.type == "Rejected"
    assert "fully booked" in first.message


async def test_a_step_without_an_answer_is_undone_too(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", fail("connection lost", final=True))

    report = await compensated(agency, await start(agency, trip))

    assert done(agency, trip) == ["BookFlight", "CancelHotel", "CancelFlight"]
    assert report.steps[1].outcome == "unknown"
    assert report.steps[1].undo == "undone"


async def test_the_undo_carries_the_same_command_and_the_id_of_the_original(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))

    await compensated(agency, await start(agency, trip))

    by_step = {(each.step, each.undoes is not None): each for each in agency.dispatches[trip]}
    assert by_step["BookHotel", True].undoes == by_step["BookHotel", False].command_id
    assert len({each.command_id for each in agency.dispatches[trip]}) == 5


async def test_a_step_that_the_saga_went_on_without_is_undone_before_the_pivot(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", fail("connection lost", final=True))

    await completed(agency, await start(agency, trip, hotel_is_optional=True))

    assert done(agency, trip) == ["BookFlight", "CancelHotel", "ChargeCard", "SendTickets"]


async def test_an_exception_of_the_sagas_own_code_before_the_pivot_undoes(agency: Agency, trip: str) -> None:
    report = await compensated(agency, await start(agency, trip, change_of_mind=True))

    assert report.cause == "changed my mind"
    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]


async def test_an_exception_of_the_sagas_own_code_after_the_pivot_undoes_nothing(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, fail_after_pivot=True)

    await incomplete(agency, handle)

    assert done(agency, trip) == ["BookFlight", "BookHotel", "ChargeCard"]
    assert lifecycle(agency, trip) == ["SagaStarted", "SagaStuck"]
    assert (await handle.describe()).search_attributes["SagaStatus"] == ["STUCK"]


async def test_a_paused_saga_begins_no_step_until_it_is_resumed(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookFlight", wait_for(release, began))
    handle = await start(agency, trip)
    await began.wait()
    await handle.signal("pause")
    release.set()
    await until_logged(agency, trip, "BookFlight done")
    await asyncio.sleep(0.3)
    assert "BookHotel" not in agency.log[trip]

    await handle.signal("resume")

    await completed(agency, handle)
    assert calls(agency, trip) == FORWARD


async def test_input_that_does_not_validate_fails_the_workflow_with_the_fields(agency: Agency, trip: str) -> None:
    handle = await agency.client.start_workflow("Trip", {"trip": trip, "flights": "many"}, id=trip, task_queue=SAGAS)

    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "PayloadValidationError"
    assert cause.details[0]["field"] == "flights"
    assert "many" not in str(cause), "input may hold personal data"

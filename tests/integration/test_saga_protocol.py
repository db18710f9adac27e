"""The saga against a real Temporal server, with services that do as each test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, CancelledError

from counteract.dev import EmbeddedTemporal
from counteract.saga import Resolution, SagaReport, SagaStatus
from tests.travel.agency import Agency, answer, fail, hang_until_cancelled, refuse, succeed, wait_for
from tests.travel.trips import Trip, TripRequest

pytestmark = pytest.mark.integration

SAGAS = "trips"
FORWARD = ["BookFlight", "BookHotel", "ChargeCard", "SendTickets"]


@pytest.fixture(scope="module")
async def agency(temporal: EmbeddedTemporal) -> AsyncIterator[Agency]:
    agency = Agency()
    async with agency.open(temporal.address, SAGAS):
        yield agency


@pytest.fixture
def trip() -> str:
    return f"trip-{uuid4().hex[:12]}"


async def start(agency: Agency, trip: str, **request: Any) -> WorkflowHandle[Trip, list[str]]:
    return await agency.client.start_workflow(Trip.run, TripRequest(trip=trip, **request), id=trip, task_queue=SAGAS)


async def compensated(handle: WorkflowHandle[Trip, list[str]]) -> SagaReport:
    """The report that the failure of a compensated saga carries."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "SagaCompensated", cause
    return SagaReport.model_validate(cause.details[0])


async def cancelled(handle: WorkflowHandle[Trip, list[str]]) -> SagaReport:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    return await reported(handle)


async def reported(handle: WorkflowHandle[Trip, list[str]]) -> SagaReport:
    report: SagaReport = await handle.query("report", result_type=SagaReport)
    return report


def calls(agency: Agency, trip: str) -> list[str]:
    return [line for line in agency.log[trip] if not line.endswith(" done")]


def done(agency: Agency, trip: str) -> list[str]:
    return [line.removesuffix(" done") for line in agency.log[trip] if line.endswith(" done")]


def terminal_events(agency: Agency, trip: str) -> list[str]:
    return [record.event_type for record in agency.lifecycle[trip] if record.event_type != "SagaStarted"]


async def test_a_saga_whose_steps_all_succeed_returns_its_result(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip)

    assert await handle.result() == [f"{step} of {trip}" for step in ("BookFlight", "BookHotel", "ChargeCard")]
    assert calls(agency, trip) == FORWARD
    assert [record.event_type for record in agency.lifecycle[trip]] == ["SagaStarted", "SagaCompleted"]
    described = await handle.describe()
    assert described.search_attributes["SagaStatus"] == ["COMPLETED"]
    assert described.search_attributes["SagaStep"] == ["SendTickets"]


async def test_a_refusal_undoes_what_was_done_in_reverse_order_and_not_the_refused_step(
    agency: Agency, trip: str
) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))

    report = await compensated(await start(agency, trip))

    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]
    assert report.cause == f"no money (trip='{trip}')"
    assert [(step.step, step.undo) for step in report.steps] == [
        ("BookFlight", "undone"),
        ("BookHotel", "undone"),
        ("ChargeCard", None),
    ]
    assert terminal_events(agency, trip) == ["SagaCompensated"]


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

    report = await compensated(await start(agency, trip))

    assert done(agency, trip) == ["BookFlight", "CancelHotel", "CancelFlight"]
    assert report.steps[1].outcome == "unknown"
    assert report.steps[1].undo == "undone"


async def test_the_undo_carries_the_same_command_and_the_id_of_the_original(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))

    await compensated(await start(agency, trip))

    by_step = {(each.step, each.undoes is not None): each for each in agency.dispatches[trip]}
    assert by_step["BookHotel", True].undoes == by_step["BookHotel", False].command_id
    assert len({each.command_id for each in agency.dispatches[trip]}) == 5


async def test_parallel_steps_in_flight_are_settled_before_the_first_undo(agency: Agency, trip: str) -> None:
    slow, release = asyncio.Event(), asyncio.Event()

    async def third_fails(command: Any, dispatch: Any) -> Any:
        if command.seats == 1:
            return await wait_for(release, slow)(command, dispatch)
        if command.seats == 3:
            await slow.wait()
            return await refuse("no seats")(command, dispatch)
        return await succeed(command, dispatch)

    agency.script(trip, "BookFlight", third_fails)
    handle = await start(agency, trip, flights=3)
    await slow.wait()
    await _eventually(lambda: agency.log[trip].count("BookFlight done") == 1)
    await asyncio.sleep(0.5)
    assert "CancelFlight" not in agency.log[trip], "an undo ran while a step was in flight"
    release.set()
    report = await compensated(handle)

    assert [step.outcome for step in report.steps] == ["applied", "applied", "not applied"]
    assert done(agency, trip).count("CancelFlight") == 2


async def test_members_of_a_parallel_group_are_undone_concurrently(agency: Agency, trip: str) -> None:
    both = asyncio.Barrier(2)

    async def meet(command: Any, dispatch: Any) -> None:
        async with asyncio.timeout(1.5):
            await both.wait()

    agency.script(trip, "BookHotel", refuse("fully booked"))
    agency.script(trip, "CancelFlight", meet)

    report = await compensated(await start(agency, trip, flights=2))

    assert [step.undo for step in report.steps] == ["undone", "undone", None]


async def test_a_failing_undo_is_repeated_until_it_succeeds(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("down"), fail("still down"), fail("down again"), succeed)

    await compensated(await start(agency, trip))

    assert calls(agency, trip).count("CancelHotel") == 4
    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]


async def test_cancellation_between_steps_undoes_and_ends_cancelled(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, sleep_before_pivot=60)
    await _eventually(lambda: "BookHotel done" in agency.log[trip])

    await handle.cancel()
    report = await cancelled(handle)

    assert report.status is SagaStatus.COMPENSATED
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]
    assert terminal_events(agency, trip) == ["SagaCompensated"]


async def test_cancellation_within_a_step_waits_for_it_to_end_and_undoes_it(agency: Agency, trip: str) -> None:
    began = asyncio.Event()
    agency.script(trip, "BookHotel", hang_until_cancelled(began))
    handle = await start(agency, trip)
    await began.wait()

    await handle.cancel()
    report = await cancelled(handle)

    assert report.steps[1].outcome == "unknown"
    assert done(agency, trip) == ["BookFlight", "CancelHotel", "CancelFlight"]


async def test_cancellation_swallowed_by_a_step_that_completes_anyway_still_undoes(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", wait_for(release, began))
    handle = await start(agency, trip)
    await began.wait()

    await handle.cancel()
    await _cancellation_arrived(handle)
    release.set()
    report = await cancelled(handle)

    assert report.steps[1].outcome == "applied"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_repeated_cancellation_does_not_stop_the_undo(agency: Agency, trip: str) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "CancelHotel", wait_for(release, undoing))
    handle = await start(agency, trip, sleep_before_pivot=60)
    await _eventually(lambda: "BookHotel done" in agency.log[trip])

    await handle.cancel()
    await undoing.wait()
    await handle.cancel()
    await handle.cancel()
    release.set()
    report = await cancelled(handle)

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


async def test_a_deadline_undoes_and_says_so(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, sleep_before_pivot=60, deadline=timedelta(milliseconds=700))

    report = await compensated(handle)

    assert report.cause == "deadline passed"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_an_exception_of_the_sagas_own_code_before_the_pivot_undoes(agency: Agency, trip: str) -> None:
    report = await compensated(await start(agency, trip, change_of_mind=True))

    assert report.cause == "changed my mind"
    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]


async def test_an_exception_of_the_sagas_own_code_after_the_pivot_undoes_nothing(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, fail_after_pivot=True)

    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "SagaIncomplete"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "ChargeCard"]
    assert terminal_events(agency, trip) == ["SagaStuck"]
    assert (await handle.describe()).search_attributes["SagaStatus"] == ["STUCK"]


async def test_cancellation_after_the_pivot_finishes_forward(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, sleep_after_pivot=1)
    await _eventually(lambda: "ChargeCard done" in agency.log[trip])

    await handle.cancel()

    assert len(await handle.result()) == 3
    assert done(agency, trip) == FORWARD
    assert (await reported(handle)).cause == "cancelled"


async def test_cancellation_within_the_pivot_finishes_forward_when_it_happened(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began))
    handle = await start(agency, trip)
    await began.wait()

    await handle.cancel()
    release.set()

    assert len(await handle.result()) == 3
    assert done(agency, trip) == FORWARD


async def test_cancellation_within_the_pivot_undoes_when_it_was_refused(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began, refuse("no money")))
    handle = await start(agency, trip)
    await began.wait()

    await handle.cancel()
    release.set()
    await cancelled(handle)

    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]


async def test_an_unknown_pivot_that_happened_goes_forward_with_its_result(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", fail("connection lost", final=True))
    agency.script(trip, "SettleChargeCard", answer({"happened": True, "result": {"reference": "receipt"}}))

    assert (await (await start(agency, trip)).result())[-1] == "receipt"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "SettleChargeCard", "SendTickets"]


async def test_an_unknown_pivot_that_never_happened_is_undone(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", fail("connection lost", final=True))
    agency.script(trip, "SettleChargeCard", fail("cannot say yet"), answer({"happened": False}))

    report = await compensated(await start(agency, trip))

    assert report.steps[2].outcome == "not applied"
    assert done(agency, trip)[-3:] == ["SettleChargeCard", "CancelHotel", "CancelFlight"]


async def test_a_step_that_the_saga_went_on_without_is_undone_before_the_pivot(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", fail("connection lost", final=True))

    await (await start(agency, trip, hotel_is_optional=True)).result()

    assert done(agency, trip) == ["BookFlight", "CancelHotel", "ChargeCard", "SendTickets"]


async def test_a_stuck_undo_waits_for_a_person_and_is_repeated_on_request(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("unknown booking", final=True), succeed)
    handle = await start(agency, trip)
    await _eventually_stuck(handle)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("resolve", Resolution(step="CancelFlight", decision="retry", who="me", why="so"))
    assert "no step 'CancelFlight' is stuck in this saga (stuck: BookHotel)" in str(refused.value.cause)
    await handle.execute_update("resolve", Resolution(step="BookHotel", decision="retry", who="me", why="fixed"))
    report = await compensated(handle)

    assert [step.undo for step in report.steps] == ["undone", "undone", None]
    assert terminal_events(agency, trip) == ["SagaStuck", "SagaResolved", "SagaCompensated"]


async def test_a_skipped_undo_is_reported_as_skipped(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("unknown booking", final=True))
    handle = await start(agency, trip)
    await _eventually_stuck(handle)

    await handle.execute_update("resolve", Resolution(step="BookHotel", decision="skip", who="me", why="by phone"))
    report = await compensated(handle)

    assert [step.undo for step in report.steps] == ["undone", "skipped", None]
    assert agency.lifecycle[trip][-1].data["skipped"] == ["BookHotel"]


async def test_a_refused_retriable_is_repeated_as_a_new_command_when_resolved(agency: Agency, trip: str) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"), succeed)
    handle = await start(agency, trip)
    await _eventually_stuck(handle)

    await handle.execute_update("resolve", Resolution(step="SendTickets", decision="retry", who="me", why="corrected"))

    await handle.result()
    ids = [each.command_id for each in agency.dispatches[trip] if each.step.startswith("SendTickets")]
    assert len(set(ids)) == 2


async def test_a_paused_saga_begins_no_step_until_it_is_resumed(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookFlight", wait_for(release, began))
    handle = await start(agency, trip)
    await began.wait()
    await handle.signal("pause")
    release.set()
    await _eventually(lambda: "BookFlight done" in agency.log[trip])
    await asyncio.sleep(0.3)
    assert "BookHotel" not in agency.log[trip]

    await handle.signal("resume")

    await handle.result()
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


async def _eventually(holds: Callable[[], bool]) -> None:
    async def check() -> bool:
        return holds()

    await _until(check)


async def _eventually_stuck(handle: WorkflowHandle[Trip, list[str]]) -> None:
    async def stuck() -> bool:
        return (await reported(handle)).status is SagaStatus.STUCK

    await _until(stuck)


async def _cancellation_arrived(handle: WorkflowHandle[Trip, list[str]]) -> None:
    async def arrived() -> bool:
        return (await reported(handle)).cause is not None

    await _until(arrived)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - what is awaited happens in a server
            await asyncio.sleep(0.02)

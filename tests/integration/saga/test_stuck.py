"""Sagas that cannot go on by themselves, and what a person decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError

from counteract.saga import Resolution, SagaStatus
from tests.travel.agency import (
    Agency,
    answer,
    fail,
    refuse,
    succeed,
)
from tests.travel.agency_sagas import (
    Handle,
    compensated,
    completed,
    history,
    lifecycle,
    reported,
    resolve,
    start,
    until,
    until_recorded,
    until_stuck,
)

pytestmark = pytest.mark.integration


async def test_a_stuck_undo_waits_for_a_person_and_is_repeated_on_request(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("unknown booking", final=True), succeed)
    handle = await start(agency, trip)
    await until_stuck(handle)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("resolve", Resolution(step="CancelFlight", decision="retry", who="me", why="so"))
    assert "no step 'CancelFlight' is stuck in this saga (stuck: BookHotel)" in str(refused.value.cause)
    await handle.execute_update("resolve", Resolution(step="BookHotel", decision="retry", who="me", why="fixed"))
    report = await compensated(agency, handle)

    assert [step.undo for step in report.steps] == ["undone", "undone", None]
    assert lifecycle(agency, trip)[1:] == ["SagaStuck", "SagaResolved", "SagaCompensated"]


async def test_a_skipped_undo_is_reported_as_skipped(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("unknown booking", final=True))
    handle = await start(agency, trip)
    await until_stuck(handle)

    await handle.execute_update("resolve", Resolution(step="BookHotel", decision="skip", who="me", why="by phone"))
    report = await compensated(agency, handle)

    assert [step.undo for step in report.steps] == ["undone", "skipped", None]
    assert agency.lifecycle[trip][-1].data["skipped"] == ["BookHotel"]


async def test_a_refused_retriable_is_repeated_as_a_new_command_when_resolved(agency: Agency, trip: str) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"), succeed)
    handle = await start(agency, trip)
    await until_stuck(handle)

    await handle.execute_update("resolve", Resolution(step="SendTickets", decision="retry", who="me", why="corrected"))

    await completed(agency, handle)
    ids = [each.command_id for each in agency.dispatches[trip] if each.step.startswith("SendTickets")]
    assert len(set(ids)) == 2


async def test_a_stuck_undo_is_repeated_with_the_command_that_a_person_corrected(agency: Agency, trip: str) -> None:
    asked = []

    async def only_two_seats(command: Any, dispatch: Any) -> None:
        asked.append(command.seats)
        if command.seats != 2:
            await fail("no such booking", final=True)(command, dispatch)

    agency.script(trip, "BookHotel", refuse("fully booked"))
    agency.script(trip, "CancelFlight", only_two_seats)
    handle = await start(agency, trip)
    await until_stuck(handle)

    await resolve(handle, "BookFlight", "retry", command={"trip": trip, "seats": 2})
    report = await compensated(agency, handle)

    assert report.steps[0].undo == "undone"
    assert asked == [1, 2]


async def test_a_refused_retriable_is_repeated_with_the_command_that_a_person_corrected(
    agency: Agency, trip: str
) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"), succeed)
    handle = await start(agency, trip)
    await until_stuck(handle)

    corrected = f"{trip} corrected"
    await resolve(handle, "SendTickets", "retry", command={"trip": corrected})
    await completed(agency, handle)

    assert agency.log[corrected] == ["SendTickets", "SendTickets done"]
    (again,) = agency.dispatches[corrected]
    assert again.step == "SendTickets~1"


async def test_a_refused_retriable_that_is_skipped_lets_the_saga_complete(agency: Agency, trip: str) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"))
    handle = await start(agency, trip)
    await until_stuck(handle)

    await resolve(handle, "SendTickets", "skip")
    await completed(agency, handle)

    assert (await reported(handle)).steps[-1].outcome == "not applied"
    assert lifecycle(agency, trip) == ["SagaStarted", "SagaStuck", "SagaResolved", "SagaCompleted"]


async def test_a_decision_is_on_record_with_who_decided_and_why(agency: Agency, trip: str) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"))
    handle = await start(agency, trip)
    await until_stuck(handle)

    await handle.execute_update("resolve", Resolution(step="SendTickets", decision="skip", who="ann", why="by hand"))
    await completed(agency, handle)

    _, stuck, resolved, _ = agency.lifecycle[trip]
    assert (stuck.data["step"], stuck.data["why"]) == ("SendTickets", f"no such address (trip='{trip}')")
    said = {name: resolved.data[name] for name in ("step", "decision", "who", "why")}
    assert said == {"step": "SendTickets", "decision": "skip", "who": "ann", "why": "by hand"}


async def test_a_retry_that_is_refused_again_is_stuck_again_under_a_further_id(agency: Agency, trip: str) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"), refuse("still none"), succeed)
    handle = await start(agency, trip)

    def sent() -> list[str]:
        return [each.step for each in agency.dispatches[trip] if each.step.startswith("SendTickets")]

    async def is_sent_again() -> bool:
        return len(sent()) == 2

    await until_stuck(handle)
    await resolve(handle, "SendTickets", "retry")
    await until(is_sent_again)
    await until_stuck(handle)
    await resolve(handle, "SendTickets", "retry")
    await completed(agency, handle)

    assert sent() == ["SendTickets", "SendTickets~1", "SendTickets~2"]


async def test_cancellation_of_a_stuck_saga_changes_nothing(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("unknown booking", final=True), succeed)
    handle = await start(agency, trip)
    await until_stuck(handle)

    await handle.cancel()
    await asyncio.sleep(0.2)
    assert (await reported(handle)).status is SagaStatus.STUCK
    await resolve(handle, "BookHotel", "retry")
    await compensated(agency, handle)


async def test_parallel_undos_that_are_stuck_are_resolved_one_by_one(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"))
    agency.script(trip, "CancelFlight", fail("unknown booking", final=True))
    handle = await start(agency, trip, flights=2)
    await until_recorded(agency, trip, "SagaStuck")
    await until(lambda: _all_stuck(handle, 2))

    await resolve(handle, "BookFlight#2", "skip")
    assert (await reported(handle)).status is SagaStatus.STUCK
    await resolve(handle, "BookFlight", "skip")
    report = await compensated(agency, handle)

    assert [step.undo for step in report.steps] == ["skipped", "skipped", None]


@pytest.mark.parametrize(
    ("nonsense", "said"),
    [
        ({"step": "BookFlight", "decision": "retry", "who": "me", "why": "so"}, "no step 'BookFlight' is stuck"),
        ({"step": "Nothing", "decision": "retry", "who": "me", "why": "so"}, "no step 'Nothing' is stuck"),
        ({"step": "SendTickets", "decision": "guess", "who": "me", "why": "so"}, "decision"),
        ({"step": "SendTickets", "decision": "skip", "who": "", "why": "so"}, "who"),
        ({"step": "SendTickets", "decision": "skip", "who": "me"}, "why"),
        (
            {"step": "SendTickets", "decision": "retry", "who": "me", "why": "so", "command": {"trp": "x"}},
            "the corrected command of SendTickets is not valid: trip: Field required; trp: Extra inputs",
        ),
        (
            {"step": "SendTickets", "decision": "skip", "who": "me", "why": "so", "result": 7},
            "the result to go on with of SendTickets is not valid",
        ),
    ],
)
async def test_a_decision_that_makes_no_sense_is_refused_and_leaves_no_trace(
    agency: Agency, refused_tickets: Handle, nonsense: dict[str, Any], said: str
) -> None:
    before = len(await history(refused_tickets))

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await refused_tickets.execute_update("resolve", nonsense)

    assert said in str(refused.value.cause)
    assert len(await history(refused_tickets)) == before
    assert lifecycle(agency, refused_tickets.id) == ["SagaStarted", "SagaStuck"]


@pytest.fixture(scope="module")
async def refused_tickets(agency: Agency) -> AsyncIterator[Handle]:
    """A saga that is stuck past its pivot."""
    trip = f"trip-{uuid4().hex[:12]}"
    agency.script(trip, "SendTickets", refuse("no such address"))
    handle = await start(agency, trip)
    await until(lambda: _waits(handle))
    yield handle
    await handle.terminate()


async def test_a_corrected_command_for_a_pivot_in_doubt_is_refused(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", fail("connection lost", final=True))
    agency.script(trip, "SettleChargeCard", fail("no such key", final=True), answer({"happened": False}))
    handle = await start(agency, trip)
    await until_stuck(handle)

    with pytest.raises(WorkflowUpdateFailedError):
        await resolve(handle, "ChargeCard", "retry", command={"trip": "another"})
    await resolve(handle, "ChargeCard", "retry")
    await compensated(agency, handle)


async def _all_stuck(handle: Handle, count: int) -> bool:
    return sum(step.stuck for step in (await reported(handle)).steps) == count


async def test_of_two_decisions_at_once_one_is_taken_and_the_other_refused(agency: Agency, trip: str) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"), succeed)
    handle = await start(agency, trip)
    await until_stuck(handle)

    said = await asyncio.gather(*(resolve(handle, "SendTickets", "retry") for _ in range(2)), return_exceptions=True)
    await completed(agency, handle)

    assert sorted(type(each).__name__ for each in said) == ["NoneType", "WorkflowUpdateFailedError"]
    assert lifecycle(agency, trip).count("SagaResolved") == 1


async def _waits(handle: Handle) -> bool:
    """It is on record as stuck, and no workflow task is open that could still add to the history."""
    events = await history(handle)
    kinds = [event.event_type for event in events]
    markers = [event.marker_recorded_event_attributes.marker_name for event in events]
    recorded = markers.count("core_local_activity") == len(["SagaStarted", "SagaStuck"])
    begun, ended = EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return recorded and kinds.count(begun) == kinds.count(ended)

"""Sagas that cannot go on by themselves, and what a person decides."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowUpdateFailedError

from counteract.saga import Resolution
from tests.travel.agency import Agency, fail, refuse, succeed
from tests.travel.following import (
    compensated,
    completed,
    lifecycle,
    start,
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

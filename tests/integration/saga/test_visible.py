"""What a saga shows of itself, and the names under which it does things."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid5

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata

from counteract.saga.interceptor import STANDING
from tests.travel.agency import (
    Agency,
    fail,
    refuse,
    succeed,
    wait_for,
)
from tests.travel.agency_sagas import (
    Handle,
    compensated,
    completed,
    history,
    resolve,
    scheduled,
    start,
    until,
    until_stuck,
)
from tests.travel.booking import ALL_ATTEMPTS, AN_ATTEMPT

pytestmark = pytest.mark.integration


async def test_a_saga_being_undone_shows_its_status_and_where_it_turned_back(agency: Agency, trip: str) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", wait_for(release, undoing))
    handle = await start(agency, trip)
    await undoing.wait()

    assert await shown(handle) == ("COMPENSATING", "ChargeCard")
    release.set()
    await compensated(agency, handle)

    assert await shown(handle) == ("COMPENSATED", "BookFlight")


async def test_a_saga_under_way_shows_its_status_alone(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", wait_for(release, began))
    handle = await start(agency, trip)
    await began.wait()

    assert await shown(handle) == ("RUNNING", "")
    release.set()
    await completed(agency, handle)


async def test_a_stuck_saga_shows_as_stuck(agency: Agency, trip: str) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"), succeed)
    handle = await start(agency, trip)
    await until_stuck(handle)

    # The server has it once the task that reports it is over.
    await until(lambda: _shows(handle, "STUCK", "SendTickets"))
    await resolve(handle, "SendTickets", "retry")
    await completed(agency, handle)

    assert await shown(handle) == ("COMPLETED", "SendTickets")


async def test_the_current_details_are_a_table_of_the_steps(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("unknown booking", final=True), succeed)
    handle = await start(agency, trip)
    await until_stuck(handle)

    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)

    assert metadata.current_details.splitlines() == [
        f"**STUCK**: no money (trip='{trip}')",
        "",
        "| step | kind | outcome | undo |",
        "|---|---|---|---|",
        "| BookFlight | compensatable | applied |  |",
        "| BookHotel | compensatable | applied | running **stuck** |",
        "| ChargeCard | pivot | not applied |  |",
    ]
    await resolve(handle, "BookHotel", "retry")
    await compensated(agency, handle)


async def test_a_step_says_of_its_saga_only_what_its_activity_does_not(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip)
    await completed(agency, handle)

    headers = [
        event.activity_task_scheduled_event_attributes.header.fields[STANDING].data
        for event in await history(handle)
        if event.activity_task_scheduled_event_attributes.activity_id == "BookFlight"
    ]
    assert headers == [b'{"epoch":1}']


async def test_activities_are_named_by_their_steps_and_carry_the_summaries_that_their_commands_give(
    agency: Agency, trip: str
) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    handle = await start(agency, trip, flights=2)
    await compensated(agency, handle)

    decoded = {
        event.activity_task_scheduled_event_attributes.activity_id: event.user_metadata.summary.data.decode()
        for event in await history(handle)
        if event.HasField("activity_task_scheduled_event_attributes")
    }
    assert decoded == {
        "BookFlight": "",
        "BookFlight#2": "",
        "BookHotel": f'"a room for {trip}"',
        "ChargeCard": "",
        "undo BookHotel": f'"a room for {trip}"',
        "undo BookFlight": "",
        "undo BookFlight#2": "",
    }


async def test_command_ids_are_made_of_workflow_first_run_and_step(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, flights=2)
    await completed(agency, handle)

    run_id = str(handle.first_execution_run_id)
    made = {each.step: each.command_id for each in agency.dispatches[trip]}
    namespace = UUID("6f1b2f7e-6b7a-5c62-9d0f-0f5b6d1c8a11")
    assert made == {
        step: uuid5(namespace, f"{trip}\n{run_id}\n{step}")
        for step in ("BookFlight", "BookFlight#2", "BookHotel", "ChargeCard", "SendTickets")
    }


async def test_a_forward_activity_has_every_limit_that_its_command_declares(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip)
    await completed(agency, handle)

    hotel = (await scheduled(handle))["BookHotel"]

    assert hotel.task_queue.name == "hotel"
    assert hotel.start_to_close_timeout.ToTimedelta() == AN_ATTEMPT
    assert hotel.schedule_to_close_timeout.ToTimedelta() == ALL_ATTEMPTS
    assert hotel.heartbeat_timeout.ToTimedelta() == AN_ATTEMPT / 2


async def shown(handle: Handle) -> tuple[str, str]:
    attributes = (await handle.describe()).search_attributes
    return str(attributes["SagaStatus"][0]), str(attributes["SagaStep"][0])


async def _shows(handle: Handle, *status_and_step: str) -> bool:
    return await shown(handle) == status_and_step

"""`counteract sagas`, as a person at a shell uses it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError

from counteract.dev import EmbeddedTemporal
from tests.commands import counteract
from tests.travel.agency import Agency, fail, refuse, succeed
from tests.travel.following import SAGAS
from tests.travel.trips import Trip, TripRequest

pytestmark = pytest.mark.integration


@pytest.fixture
async def stuck(agency: Agency, temporal: EmbeddedTemporal, trip: str) -> str:
    """A saga whose undo of the hotel is stuck."""
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("unknown booking", final=True), succeed)
    await agency.client.start_workflow(Trip.run, TripRequest(trip=trip), id=trip, task_queue=SAGAS)
    async with asyncio.timeout(15):
        while "STUCK" not in (await sagas(temporal, "show", trip)).stdout:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    return trip


async def sagas(temporal: EmbeddedTemporal, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await counteract("sagas", *arguments, "--address", temporal.address)


async def test_a_stuck_saga_is_listed_shown_and_resolved(
    agency: Agency, temporal: EmbeddedTemporal, stuck: str
) -> None:
    shown = await sagas(temporal, "show", stuck, "--json")
    assert [(step["step"], step["stuck"]) for step in json.loads(shown.stdout)["steps"]] == [
        ("BookFlight", False),
        ("BookHotel", True),
        ("ChargeCard", False),
    ]
    assert "Cause: no money" in (await sagas(temporal, "show", stuck)).stdout

    nonsense = await sagas(temporal, "resolve", stuck, "BookFlight", "retry", "--why", "a guess")
    assert nonsense.returncode == 1
    assert nonsense.stderr.strip() == "refused: no step 'BookFlight' is stuck in this saga (stuck: BookHotel)"

    resolved = await sagas(temporal, "resolve", stuck, "BookHotel", "retry", "--why", "they found it", "--who", "ann")
    assert resolved.stdout.strip() == f"{stuck}: BookHotel will be tried again"
    with pytest.raises(WorkflowFailureError):
        await agency.client.get_workflow_handle(stuck).result()
    assert agency.lifecycle[stuck][-2].data["who"] == "ann"


async def test_sagas_are_listed_by_status(agency: Agency, temporal: EmbeddedTemporal, trip: str) -> None:
    await agency.client.execute_workflow(Trip.run, TripRequest(trip=trip), id=trip, task_queue=SAGAS)

    wanted = ("list", "--status", "completed", "--query", f"WorkflowId = '{trip}'", "--json")
    listed = await sagas(temporal, *wanted)
    async with asyncio.timeout(15):
        while not listed.stdout:  # the server's list is behind by a moment
            listed = await sagas(temporal, *wanted)

    row = json.loads(listed.stdout)
    assert (row["workflow_id"], row["status"], row["step"]) == (trip, "COMPLETED", "SendTickets")


async def test_a_step_that_fails_is_shown_with_the_attempt_and_its_error(
    agency: Agency, temporal: EmbeddedTemporal
) -> None:
    trip = f"trip-{uuid4().hex[:12]}"
    agency.script(trip, "BookHotel", fail("no connection"))
    handle = await agency.client.start_workflow(Trip.run, TripRequest(trip=trip), id=trip, task_queue=SAGAS)

    await until_shown(temporal, trip, r"^BookHotel: attempt \d+, after .*no connection$")
    await handle.terminate()


async def test_a_saga_whose_code_fails_says_what_it_waits_for(agency: Agency, temporal: EmbeddedTemporal) -> None:
    trip = f"trip-{uuid4().hex[:12]}"
    handle = await agency.client.start_workflow("Tripp", id=trip, task_queue=SAGAS)

    await until_shown(temporal, trip, rf"^{trip} waits for corrected code: Workflow class Tripp is not registered")
    await handle.terminate()


async def test_a_saga_that_no_worker_answers_for_names_the_task_queue(
    agency: Agency, temporal: EmbeddedTemporal
) -> None:
    trip = f"trip-{uuid4().hex[:12]}"
    handle = await agency.client.start_workflow(Trip.run, TripRequest(trip=trip), id=trip, task_queue="nobodys")

    shown = await sagas(temporal, "show", trip)
    assert shown.stderr == "no worker answered: is one running for the task queue 'nobodys'?\n"
    await handle.terminate()


async def until_shown(temporal: EmbeddedTemporal, trip: str, pattern: str) -> None:
    async with asyncio.timeout(30):
        while True:
            shown = await sagas(temporal, "show", trip)
            if re.search(pattern, shown.stdout + shown.stderr, re.MULTILINE):
                return


@pytest.mark.parametrize("command", ["show", "pause", "resume"])
async def test_an_unknown_saga_is_one_clear_line(temporal: EmbeddedTemporal, command: str) -> None:
    answer = await sagas(temporal, command, "nobody")

    assert answer.returncode == 1
    assert "not found" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1

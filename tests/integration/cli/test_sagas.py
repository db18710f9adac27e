"""`counteract sagas`, as a person at a shell uses it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from counteract.dev import EmbeddedTemporal
from counteract.plugin import CounteractPlugin
from tests.commands import counteract
from tests.travel.agency import Agency, fail, refuse, succeed
from tests.travel.agency_sagas import SAGAS
from tests.travel.trips import Trip, TripRequest

pytestmark = [pytest.mark.integration, pytest.mark.program]


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


async def test_a_step_that_a_person_skipped_is_shown_as_skipped(
    agency: Agency, temporal: EmbeddedTemporal, trip: str
) -> None:
    agency.script(trip, "SendTickets", refuse("no such address"))
    handle = await agency.client.start_workflow(Trip.run, TripRequest(trip=trip), id=trip, task_queue=SAGAS)
    await until_shown(temporal, trip, r"SendTickets .* stuck")

    await sagas(temporal, "resolve", trip, "SendTickets", "skip", "--why", "handed over")
    await handle.result()

    await until_shown(temporal, trip, r"SendTickets .* retriable .* skipped")


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


async def test_a_cause_that_looks_like_markup_or_steers_the_terminal_is_shown_as_it_is(
    agency: Agency, temporal: EmbeddedTemporal
) -> None:
    trip = f"trip-{'0123456789' * 9}-{uuid4().hex[:12]}"
    agency.script(trip, "ChargeCard", refuse("[/] no\x1b[2J\nmoney [red]"))
    with pytest.raises(WorkflowFailureError):
        await agency.client.execute_workflow(Trip.run, TripRequest(trip=trip), id=trip, task_queue=SAGAS)

    shown = await sagas(temporal, "show", trip)

    assert "\nCause: [/] no\\u001b[2J\\u000amoney [red]" in shown.stdout
    async with asyncio.timeout(15):
        while trip not in (await sagas(temporal, "list", "--query", f"WorkflowId = '{trip}'")).stdout:
            pass  # the server's list is behind by a moment


async def test_a_round_of_recovery_says_what_it_left_and_why(temporal: EmbeddedTemporal) -> None:
    queue = f"rounds-{uuid4().hex[:8]}"
    client = await Client.connect(temporal.address, plugins=[CounteractPlugin()])
    async with Worker(client, task_queue=queue, workflows=[RecoveryRound]):
        done = await sagas(temporal, "recover", "--task-queue", queue)

    assert done.stdout.splitlines() == [
        "recovering order-1",
        "recovering order-2",
        "left order-3: its worker knows no command ReserveStock",
        "left …: 2 more",
        "5 lost sagas found, 3 of them left",
    ]


async def test_a_round_after_a_restore_is_told_since_when(temporal: EmbeddedTemporal) -> None:
    queue = f"rounds-{uuid4().hex[:8]}"
    client = await Client.connect(temporal.address, plugins=[CounteractPlugin()])
    async with Worker(client, task_queue=queue, workflows=[RecoveryRound]):
        done = await sagas(temporal, "recover", "--restored-to", "2026-01-02T03:04:05", "--task-queue", queue)

    assert "begun after 2026-01-02T03:04:05+00:00" in done.stdout


@workflow.defn(name="RecoverSagas", sandboxed=False)
class RecoveryRound:
    """What a round may answer: objects, or as workers of an earlier release did, ids."""

    @workflow.run
    async def run(self, include_forgotten: bool, restored_to: str | None = None) -> list[Any]:
        why = "its worker knows no command ReserveStock"
        if restored_to is not None:
            return [f"begun after {restored_to}"]
        return [
            "order-1",
            {"saga_id": "order-2", "run_id": "2", "what": "recovering", "why": ""},
            {"saga_id": "order-3", "run_id": "3", "what": "left", "why": why},
            {"saga_id": "…", "run_id": "", "what": "left", "why": "2 more", "times": 2},
        ]


@pytest.mark.parametrize("command", ["show", "pause", "resume"])
async def test_an_unknown_saga_is_one_clear_line(temporal: EmbeddedTemporal, command: str) -> None:
    answer = await sagas(temporal, command, "nobody")

    assert answer.returncode == 1
    assert "not found" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--why", ""], "--why: String should have at least 1 character"),
        (["--why", "x", "--command", "[1]"], "--command: Input should be a valid dictionary"),
        (["--why", "x", "--command", "null"], "--command is null, which is no command"),
        (["--why", "x", "--command", "{"], "--command is not JSON"),
        (["--why", "x", "--result", "[" * 100_000], "--result cannot be read"),
        (["--why", "x", "--result", "1" * 5000], "--result cannot be read"),
    ],
)
async def test_a_decision_that_cannot_be_sent_is_answered_in_a_line(
    temporal: EmbeddedTemporal, arguments: list[str], said: str
) -> None:
    refused = await sagas(temporal, "resolve", "trip-1", "BookHotel", "retry", *arguments)

    assert refused.returncode == 1
    assert refused.stderr.startswith(said), refused
    assert "Traceback" not in refused.stderr

"""Histories recorded from a real server, replayed against the code that made them and against changed code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory
from temporalio.worker import Worker

from counteract.dev import EmbeddedTemporal
from counteract.plugin import CounteractPlugin
from counteract.testing import RecordedHistory, ReplayFailed, UnreadableHistory, read, record, replay
from tests.travel.agency import Agency, refuse
from tests.travel.agency_sagas import SAGAS
from tests.travel.bank_sagas import Outing, OutingRequest
from tests.travel.changed_sagas import CheapOuting, ExtraStep, HotelFirst, NoTickets, TwoSeats
from tests.travel.reset import reset
from tests.travel.sealed_payloads import SEALED, connect
from tests.travel.trips import Trip, TripRequest
from tests.travel.unordered_arguments import HeavyJourney, Journey, check_in
from tests.travel.world import World

pytestmark = pytest.mark.integration


@pytest.fixture
async def completed(agency: Agency, trip: str, tmp_path: Path) -> Path:
    await agency.client.execute_workflow(Trip.run, TripRequest(trip=trip), id=trip, task_queue=SAGAS)
    await record(agency.client, trip, tmp_path / "completed.json")
    return tmp_path / "completed.json"


async def test_a_recorded_history_replays_against_the_code_that_made_it(completed: Path) -> None:
    await replay(read(completed), [Trip])


async def test_a_compensated_history_replays(agency: Agency, trip: str, tmp_path: Path) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    with pytest.raises(WorkflowFailureError):
        await agency.client.execute_workflow(Trip.run, TripRequest(trip=trip), id=trip, task_queue=SAGAS)

    await replay(await record(agency.client, trip, tmp_path / "compensated.json"), [Trip])


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (HotelFirst, "BookFlight was begun when recorded, where now BookHotel would be"),
        (ExtraStep, "SendTickets#2 would be begun now, and was not when recorded"),
        (NoTickets, "SendTickets was begun when recorded, and would not be now"),
    ],
)
async def test_a_moved_an_added_and_a_missing_step_do_not_replay_and_are_named(
    completed: Path, changed: type, what: str
) -> None:
    with pytest.raises(ReplayFailed) as failed:
        await replay(read(completed), [changed])

    assert failed.value.differences[0] == what


async def test_a_changed_argument_does_not_replay_and_names_the_step_and_the_field(completed: Path) -> None:
    with pytest.raises(ReplayFailed) as failed:
        await replay(read(completed), [TwoSeats])

    assert failed.value.differences == ("BookFlight[0].seats was 1 when recorded, and would now be 2",)


def test_a_file_that_is_no_history_says_so(tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text('{"events": []}')

    with pytest.raises(UnreadableHistory, match=r"wrong\.json is no workflow history"):
        read(tmp_path / "wrong.json")


async def test_a_run_that_was_reset_replays(world: World, tmp_path: Path) -> None:
    trip = f"outing-{uuid4().hex[:12]}"
    request = OutingRequest(account="ann", trip=trip, amount=60)
    await world.client.execute_workflow(Outing.run, request, id=trip, task_queue=world.queue)
    await (await reset(world, trip, behind="HoldMoney")).result()

    history = await record(world.client, trip, tmp_path / "reset.json")

    assert "counteract: look 1 before" in str(history.events), "it looked up what became of its steps"
    await replay(read(tmp_path / "reset.json"), [Outing])


async def test_a_run_that_was_reset_and_then_cancelled_replays(world: World, tmp_path: Path) -> None:
    trip = f"outing-{uuid4().hex[:12]}"
    request = OutingRequest(account="ann", trip=trip, amount=60, nap=60)
    await world.client.start_workflow(Outing.run, request, id=trip, task_queue=world.queue)
    async with asyncio.timeout(10):
        while not world.company.authorized:  # noqa: ASYNC110 - it happens in a worker
            await asyncio.sleep(0.01)
    again = await reset(world, trip, behind="HoldMoney")
    await again.cancel()
    with pytest.raises(WorkflowFailureError):
        await again.result()

    await replay(await record(world.client, trip, tmp_path / "reset.json"), [Outing])


@pytest.fixture
async def journey(temporal: EmbeddedTemporal, tmp_path: Path) -> WorkflowHistory:
    """As another process would have recorded it: with the tags in another order."""
    client = await Client.connect(temporal.address, plugins=[CounteractPlugin()])
    queue = f"journeys-{uuid4().hex[:8]}"
    async with Worker(client, task_queue=queue, workflows=[Journey], activities=[check_in]):
        await client.execute_workflow(Journey.run, id=queue, task_queue=queue)
    history = await record(client, queue, tmp_path / "journey.json")
    for event in history.events:
        for payload in event.activity_task_scheduled_event_attributes.input.payloads:
            suitcase = json.loads(payload.data)
            payload.data = json.dumps(suitcase | {"labels": suitcase["labels"][::-1]}).encode()
    return history


async def test_the_order_in_which_a_set_is_sent_is_no_difference(journey: WorkflowHistory) -> None:
    await replay(journey, [Journey])


async def test_another_set_another_order_of_a_list_and_another_number_are_differences(
    journey: WorkflowHistory,
) -> None:
    with pytest.raises(ReplayFailed) as failed:
        await replay(journey, [HeavyJourney])

    labels, first, second, weight = failed.value.differences
    assert labels.startswith('CheckIn[0].labels was ["tag 0", "tag 1", ')
    assert '"tag 7"' in labels.partition("would now be")[0]
    assert '"tag 7"' not in labels.partition("would now be")[2]
    assert first == 'CheckIn[0].lines[0] was "Ann" when recorded, and would now be "12 Main Street"'
    assert second == 'CheckIn[0].lines[1] was "12 Main Street" when recorded, and would now be "Ann"'
    assert weight == "CheckIn[0].weight was 20 when recorded, and would now be 25"


@pytest.fixture
async def sealed(sealed_world: World, tmp_path: Path) -> RecordedHistory:
    """The history of a saga whose client has a codec."""
    trip = f"outing-{uuid4().hex[:12]}"
    request = OutingRequest(account="ann", trip=trip, amount=60)
    await sealed_world.client.execute_workflow(Outing.run, request, id=trip, task_queue=sealed_world.queue)
    return await record(sealed_world.client, trip, tmp_path / "sealed.json")


async def test_a_history_that_a_codec_encoded_replays_with_the_client_that_it_came_by(sealed: RecordedHistory) -> None:
    await replay(sealed, [Outing])


async def test_a_changed_argument_is_noticed_behind_a_codec(sealed: RecordedHistory) -> None:
    with pytest.raises(ReplayFailed) as failed:
        await replay(sealed, [CheapOuting])

    assert failed.value.differences == ("HoldMoney[0].amount was 60 when recorded, and would now be 59",)


async def test_a_file_stays_encoded_and_replays_with_a_client_that_is_not_connected(
    sealed: RecordedHistory, tmp_path: Path
) -> None:
    assert {each["encoding"] for each in activity_inputs(tmp_path / "sealed.json")} == {SEALED}

    client = await connect(target_host="localhost:1", lazy=True)
    await replay(read(tmp_path / "sealed.json"), [Outing], client=client)


async def test_an_encoded_file_without_its_codec_names_the_way_to_give_it(
    sealed: RecordedHistory, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableHistory, match=r"is encoded \(binary/sealed\): .*`\[tool.counteract\] client = "):
        await replay(read(tmp_path / "sealed.json"), [Outing])


async def test_a_file_and_the_wrong_key_name_the_error(sealed: RecordedHistory, tmp_path: Path) -> None:
    client = await connect(target_host="localhost:1", namespace="another", lazy=True)

    with pytest.raises(UnreadableHistory, match=r"cannot be decoded: ValueError: 'another .*' is not the key"):
        await replay(read(tmp_path / "sealed.json"), [Outing], client=client)


def activity_inputs(file: Path) -> list[Mapping[str, bytes]]:
    scheduled = (each.activity_task_scheduled_event_attributes for each in read(file).events)
    return [payload.metadata for each in scheduled for payload in each.input.payloads]

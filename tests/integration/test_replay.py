"""Histories recorded from a real server, replayed against the code that made them and against changed code."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError

from counteract.testing import ReplayFailed, UnreadableHistory, read, record, replay
from tests.travel.agency import Agency, refuse
from tests.travel.changed import ExtraStep, HotelFirst, NoTickets, TwoSeats
from tests.travel.following import SAGAS
from tests.travel.trips import Trip, TripRequest

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

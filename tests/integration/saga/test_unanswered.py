"""Every way in which a step can end without an answer: nobody knows whether it took effect, and so it is undone."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.worker import Worker

from counteract.dev import EmbeddedTemporal
from tests.travel import own_code
from tests.travel.agency import (
    Agency,
    Behaviour,
    answer,
    fail,
    fall_silent,
    hang_until_cancelled,
    refuse,
)
from tests.travel.agency_sagas import (
    Handle,
    calls,
    compensated,
    done,
    start,
    start_detour,
    until_interrupted,
)
from tests.travel.booking import RentBoat, RentCar

pytestmark = pytest.mark.integration

BRIEFLY = timedelta(milliseconds=300)
TOO_LARGE = 3 * 1024 * 1024


@dataclass(frozen=True)
class Ending:
    """What became of one saga."""

    cause: str
    steps: Sequence[tuple[str, str | None, str | None]]
    log: list[str]


@pytest.fixture(scope="module")
async def endings(agency: Agency) -> AsyncIterator[dict[str, asyncio.Task[Ending]]]:
    """All of them side by side, for each takes as long as its timeout."""

    async def hurry(name: str, behaviour: Behaviour, **limits: Any) -> Ending:
        trip = f"{name}-{uuid4().hex[:12]}"
        agency.script(trip, "BookHotel", behaviour)
        return await ending(trip, await start_detour(agency, own_code.InAHurry, trip, own_code.Limits(**limits)))

    async def unheard_of() -> Ending:
        trip = f"unregistered-{uuid4().hex[:12]}"
        return await ending(trip, await start_detour(agency, own_code.GoesToTheSauna, trip))

    async def ending(trip: str, handle: Handle) -> Ending:
        report = await compensated(agency, handle)
        steps = [(each.step, each.outcome, each.undo) for each in report.steps]
        return Ending(str(report.cause), steps, agency.log[trip])

    endless = hang_until_cancelled(asyncio.Event())
    begun = {
        "retries": hurry("retries", fail("down"), attempts=3),
        "start-to-close": hurry("start-to-close", endless, attempt_timeout=BRIEFLY, attempts=2),
        "schedule-to-close": hurry("schedule-to-close", endless, timeout=BRIEFLY),
        "heartbeat": hurry("heartbeat", fall_silent, attempt_timeout=2 * BRIEFLY, attempts=1),
        "too large": hurry("too-large", answer({"reference": "x" * TOO_LARGE}), timeout=2 * BRIEFLY),
        "unregistered": unheard_of(),
    }
    tasks = {name: asyncio.create_task(each) for name, each in begun.items()}
    yield tasks
    await asyncio.gather(*tasks.values(), return_exceptions=True)


UNDONE = [("BookFlight", "applied", "undone"), ("BookHotel", "unknown", "undone")]


async def test_a_step_whose_retries_are_exhausted_is_undone(endings: dict[str, asyncio.Task[Ending]]) -> None:
    ending = await endings["retries"]

    assert ending.steps == UNDONE
    assert ending.cause == "BookHotel ended without an answer: ApplicationError"
    assert ending.log.count("BookHotel") == 3


async def test_a_step_of_which_every_attempt_takes_too_long_is_undone(endings: dict[str, asyncio.Task[Ending]]) -> None:
    ending = await endings["start-to-close"]

    assert ending.steps == UNDONE
    assert "StartToClose timeout" in ending.cause
    assert ending.log.count("BookHotel") == 2


async def test_a_step_that_takes_too_long_over_all_attempts_is_undone(
    endings: dict[str, asyncio.Task[Ending]],
) -> None:
    ending = await endings["schedule-to-close"]

    assert ending.steps == UNDONE
    assert "ScheduleToClose timeout" in ending.cause


async def test_a_step_whose_worker_falls_silent_is_undone_before_its_time_is_up(
    endings: dict[str, asyncio.Task[Ending]],
) -> None:
    ending = await endings["heartbeat"]

    assert ending.steps == UNDONE
    assert "Heartbeat timeout" in ending.cause


async def test_a_step_whose_answer_is_too_large_is_undone(endings: dict[str, asyncio.Task[Ending]]) -> None:
    ending = await endings["too large"]

    assert ending.steps == UNDONE
    assert "BookHotel done" in ending.log


async def test_a_step_that_no_worker_has_heard_of_is_undone(endings: dict[str, asyncio.Task[Ending]]) -> None:
    ending = await endings["unregistered"]

    assert ending.steps == [("BookFlight", "applied", "undone"), ("BookSauna", "unknown", "undone")]
    assert "BookSauna" in ending.cause


async def test_a_step_that_no_worker_takes_is_undone_as_soon_as_there_is_one(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, own_code.TakesACar, trip)
    await until_interrupted(handle)
    assert agency.log[trip] == ["BookFlight", "BookFlight done"], "what began later is undone first"

    undo = agency.activity_of("ReturnCar", RentCar)
    async with Worker(agency.client, task_queue="cars", activities=[undo]):
        report = await compensated(agency, handle)

    assert report.steps[1].outcome == "unknown"
    assert done(agency, trip) == ["BookFlight", "ReturnCar", "CancelFlight"]


async def test_a_step_whose_worker_is_killed_in_the_middle_is_undone_by_another(
    agency: Agency, trip: str, temporal: EmbeddedTemporal
) -> None:
    doomed = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.travel.killed_worker", temporal.address)
    handle = await start_detour(agency, own_code.TakesABoat, trip)
    assert await doomed.wait() == -signal.SIGKILL

    undo = agency.activity_of("ReturnBoat", RentBoat)
    async with Worker(agency.client, task_queue="boats", activities=[undo]):
        report = await compensated(agency, handle)

    assert "Heartbeat timeout" in str(report.cause)
    assert done(agency, trip) == ["BookFlight", "ReturnBoat", "CancelFlight"]


async def test_a_refused_step_is_asked_once_and_not_undone(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"))

    report = await compensated(agency, await start_detour(agency, own_code.InAHurry, trip, own_code.Limits()))

    assert [(each.outcome, each.undo) for each in report.steps] == [("applied", "undone"), ("not applied", None)]
    assert calls(agency, trip) == ["BookFlight", "BookHotel", "CancelFlight"]


async def test_an_answer_that_is_not_what_the_command_declares_is_no_answer(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", answer({"number": 7}))

    report = await compensated(agency, await start(agency, trip))

    assert [(each.outcome, each.undo) for each in report.steps] == [("applied", "undone"), ("unknown", "undone")]

"""The order in which sagas are undone, and undos that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.travel.agency import Agency, fail, refuse, succeed, wait_for
from tests.travel.following import (
    calls,
    compensated,
    done,
    start,
    until_logged,
)

pytestmark = pytest.mark.integration


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
    await until_logged(agency, trip, "BookFlight done")
    await asyncio.sleep(0.5)
    assert "CancelFlight" not in agency.log[trip], "an undo ran while a step was in flight"
    release.set()
    report = await compensated(agency, handle)

    assert [step.outcome for step in report.steps] == ["applied", "applied", "not applied"]
    assert done(agency, trip).count("CancelFlight") == 2


async def test_members_of_a_parallel_group_are_undone_concurrently(agency: Agency, trip: str) -> None:
    both = asyncio.Barrier(2)

    async def meet(command: Any, dispatch: Any) -> None:
        async with asyncio.timeout(1.5):
            await both.wait()

    agency.script(trip, "BookHotel", refuse("fully booked"))
    agency.script(trip, "CancelFlight", meet)

    report = await compensated(agency, await start(agency, trip, flights=2))

    assert [step.undo for step in report.steps] == ["undone", "undone", None]


async def test_a_failing_undo_is_repeated_until_it_succeeds(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("down"), fail("still down"), fail("down again"), succeed)

    await compensated(agency, await start(agency, trip))

    assert calls(agency, trip).count("CancelHotel") == 4
    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]

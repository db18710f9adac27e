"""The order in which sagas are undone, and undos that fail."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from counteract.saga import SagaStatus
from tests.travel import own_code
from tests.travel.agency import (
    Agency,
    fail,
    refuse,
    succeed,
    wait_for,
)
from tests.travel.agency_sagas import (
    calls,
    compensated,
    completed,
    done,
    ends,
    reported,
    scheduled,
    spans,
    start,
    start_detour,
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


async def test_groups_are_undone_one_after_another_from_the_last_to_the_first(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))

    handle = await start_detour(agency, own_code.BooksInTwoGroups, trip)
    await compensated(agency, handle)

    undos = await spans(handle, "undo ")
    hotels = [undos[each] for each in undos if "Hotel" in each]
    flights = [undos[each] for each in undos if "Flight" in each]
    assert (len(hotels), len(flights)) == (3, 3)
    assert len({each.ordered for each in hotels}) == 1, "all hotels at once"
    assert len({each.ordered for each in flights}) == 1, "all flights at once"
    assert max(each.ended for each in hotels) < min(each.scheduled for each in flights)


async def test_an_undo_has_no_attempt_limit_and_a_capped_exponential_backoff(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"))
    handle = await start(agency, trip)
    await compensated(agency, handle)

    policy = (await scheduled(handle))["undo BookFlight"].retry_policy

    assert (policy.maximum_attempts, policy.backoff_coefficient) == (0, 2)
    assert policy.maximum_interval.ToTimedelta() == timedelta(minutes=1)


async def test_a_saga_whose_undo_fails_is_not_called_compensated(agency: Agency, trip: str) -> None:
    up = asyncio.Event()

    async def while_down(command: Any, dispatch: Any) -> None:
        await (succeed if up.is_set() else fail("down"))(command, dispatch)

    agency.script(trip, "BookHotel", refuse("fully booked"))
    agency.script(trip, "CancelFlight", while_down)
    handle = await start(agency, trip)
    await until_logged(agency, trip, "CancelFlight")

    report = await reported(handle)
    assert (report.status, report.steps[0].undo) == (SagaStatus.COMPENSATING, "running")
    assert ends(agency, trip) == []
    up.set()
    await compensated(agency, handle)


# A hundred at once.


async def test_a_hundred_parallel_steps_complete(agency: Agency, trip: str) -> None:
    answers = await completed(agency, await start(agency, trip, flights=100))

    assert len(answers) == 102
    assert answers[99] == f"BookFlight#100 of {trip}", "answers come in the order of the commands"


async def test_one_refusal_among_a_hundred_parallel_steps_undoes_the_other_99_at_once(
    agency: Agency, trip: str
) -> None:
    async def refuse_the_fiftieth(command: Any, dispatch: Any) -> Any:
        return await (refuse("no seats") if command.seats == 50 else succeed)(command, dispatch)

    agency.script(trip, "BookFlight", refuse_the_fiftieth)
    handle = await start(agency, trip, flights=100)
    report = await compensated(agency, handle)

    assert [step.step for step in report.steps if step.undo != "undone"] == ["BookFlight#50"]
    forward, undos = await spans(handle, "BookFlight"), await spans(handle, "undo ")
    assert len(undos) == 99
    assert len({each.ordered for each in undos.values()}) == 1, "all of them at once"
    assert max(each.ended for each in forward.values()) < min(each.scheduled for each in undos.values())

"""Pivots that end without an answer: settled, and never guessed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from tests.travel.agency import (
    Agency,
    answer,
    fail,
    wait_for,
)
from tests.travel.agency_sagas import (
    Handle,
    cancelled,
    compensated,
    completed,
    done,
    lifecycle,
    reported,
    resolve,
    start,
    until_interrupted,
    until_logged,
    until_stuck,
)

pytestmark = pytest.mark.integration


async def test_an_unknown_pivot_that_happened_goes_forward_with_its_result(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", fail("connection lost", final=True))
    agency.script(trip, "SettleChargeCard", answer({"happened": True, "result": {"reference": "receipt"}}))

    assert (await completed(agency, await start(agency, trip)))[-1] == "receipt"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "SettleChargeCard", "SendTickets"]


async def test_an_unknown_pivot_that_never_happened_is_undone(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", fail("connection lost", final=True))
    agency.script(trip, "SettleChargeCard", fail("cannot say yet"), answer({"happened": False}))

    report = await compensated(agency, await start(agency, trip))

    assert report.steps[2].outcome == "not applied"
    assert done(agency, trip)[-3:] == ["SettleChargeCard", "CancelHotel", "CancelFlight"]


UNTIL_TOLD = {True: {"happened": True, "result": {"reference": "receipt"}}, False: {"happened": False}}


async def in_doubt(agency: Agency, trip: str, *, happened: bool, **request: Any) -> tuple[Handle, asyncio.Event]:
    """A saga whose pivot got no answer, and of which the provider cannot say what became until it is told to."""
    asking, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", fail("connection lost", final=True))
    agency.script(trip, "SettleChargeCard", wait_for(release, asking, answer(UNTIL_TOLD[happened])))
    handle = await start(agency, trip, **request)
    await asking.wait()
    return handle, release


async def test_a_saga_waits_while_nobody_can_say_whether_its_pivot_happened(agency: Agency, trip: str) -> None:
    handle, release = await in_doubt(agency, trip, happened=True)

    await asyncio.sleep(0.3)
    assert done(agency, trip) == ["BookFlight", "BookHotel"], "it has neither gone forward nor back"
    assert (await reported(handle)).steps[2].outcome is None
    release.set()

    await completed(agency, handle)


async def test_a_provider_that_will_never_say_leaves_the_saga_to_a_person_who_can_only_ask_again(
    agency: Agency, trip: str
) -> None:
    agency.script(trip, "ChargeCard", fail("connection lost", final=True))
    agency.script(trip, "SettleChargeCard", fail("no such key", final=True), answer(UNTIL_TOLD[True]))
    handle = await start(agency, trip)
    await until_stuck(handle)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await resolve(handle, "ChargeCard", "skip")
    assert "cannot be decided by skip, only by retry" in str(refused.value.cause)
    await resolve(handle, "ChargeCard", "retry")
    await completed(agency, handle)

    assert lifecycle(agency, trip) == ["SagaStarted", "SagaStuck", "SagaResolved", "SagaCompleted"]


async def test_a_saga_cancelled_in_doubt_goes_forward_when_its_pivot_happened(agency: Agency, trip: str) -> None:
    handle, release = await in_doubt(agency, trip, happened=True)

    await handle.cancel()
    await until_interrupted(handle)
    release.set()
    await completed(agency, handle)

    assert done(agency, trip)[-1] == "SendTickets"


async def test_a_saga_cancelled_in_doubt_is_undone_when_its_pivot_did_not_happen(agency: Agency, trip: str) -> None:
    handle, release = await in_doubt(agency, trip, happened=False)

    await handle.cancel()
    await until_interrupted(handle)
    assert "CancelHotel" not in agency.log[trip]
    release.set()
    await cancelled(agency, handle)

    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]


async def test_a_saga_late_in_doubt_goes_forward_when_its_pivot_happened(agency: Agency, trip: str) -> None:
    handle, release = await in_doubt(agency, trip, happened=True, deadline=timedelta(milliseconds=900))

    await until_interrupted(handle)
    release.set()
    await completed(agency, handle)

    assert done(agency, trip)[-1] == "SendTickets"


async def test_a_saga_late_in_doubt_is_undone_when_its_pivot_did_not_happen(agency: Agency, trip: str) -> None:
    handle, release = await in_doubt(agency, trip, happened=False, deadline=timedelta(milliseconds=900))

    await until_interrupted(handle)
    release.set()
    report = await compensated(agency, handle)

    assert report.cause == "deadline passed"
    assert done(agency, trip)[-2:] == ["CancelHotel", "CancelFlight"]


async def test_a_saga_paused_while_it_prepares_its_pivot_does_not_begin_it(agency: Agency, trip: str) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", fail("connection lost", final=True))
    agency.script(trip, "CancelHotel", wait_for(release, undoing))
    handle = await start(agency, trip, hotel_is_optional=True)
    await undoing.wait()

    await handle.signal("pause")
    release.set()
    await until_logged(agency, trip, "CancelHotel done")
    await asyncio.sleep(0.3)
    began_while_paused = "ChargeCard" in agency.log[trip]
    await handle.signal("resume")
    await completed(agency, handle)

    assert not began_while_paused

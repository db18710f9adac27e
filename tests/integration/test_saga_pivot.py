"""Pivots that end without an answer: settled, and never guessed."""

from __future__ import annotations

import pytest

from tests.travel.agency import Agency, answer, fail
from tests.travel.following import (
    compensated,
    completed,
    done,
    start,
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

"""Sagas whose deadline passes, at every point of their way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.travel.agency import Agency
from tests.travel.following import (
    compensated,
    done,
    start,
)

pytestmark = pytest.mark.integration


async def test_a_deadline_undoes_and_says_so(agency: Agency, trip: str) -> None:
    handle = await start(agency, trip, sleep_before_pivot=60, deadline=timedelta(milliseconds=700))

    report = await compensated(agency, handle)

    assert report.cause == "deadline passed"
    assert done(agency, trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]

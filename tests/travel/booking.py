"""Travel: a saga domain that has nothing to do with the marketplace."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, PositiveInt

from counteract import Compensatable, Pivot, Retriable, Retry

QUICK = Retry(initial=timedelta(milliseconds=20), maximum=timedelta(milliseconds=50))


class Booked(BaseModel):
    """A reservation."""

    reference: str


class BookFlight(
    Compensatable[Booked],
    service="airline",
    compensation="CancelFlight",
    attempt_timeout=timedelta(seconds=2),
    timeout=timedelta(seconds=4),
    retry=QUICK,
):
    """Hold a seat."""

    trip: str
    seats: PositiveInt = 1


class BookHotel(
    Compensatable[Booked],
    service="hotel",
    compensation="CancelHotel",
    attempt_timeout=timedelta(seconds=2),
    timeout=timedelta(seconds=4),
    retry=QUICK,
):
    """Hold a room."""

    trip: str


class ChargeCard(
    Pivot[Booked], service="bank", attempt_timeout=timedelta(seconds=2), timeout=timedelta(seconds=4), retry=QUICK
):
    """Take the money."""

    trip: str


class SendTickets(Retriable[None], service="airline", attempt_timeout=timedelta(seconds=2), retry=QUICK):
    """Send what was bought."""

    trip: str

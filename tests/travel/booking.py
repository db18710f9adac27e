"""Travel: a saga domain that has nothing to do with the marketplace."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, PositiveInt

from counteract import Compensatable, Pivot, Retriable, Retry

QUICK = Retry(initial=timedelta(milliseconds=20), maximum=timedelta(milliseconds=50))

# Longer than a test holds a step up on the busiest machine: what is meant to take too long says a limit of its own.
AN_ATTEMPT, ALL_ATTEMPTS = timedelta(seconds=10), timedelta(seconds=20)


class Booked(BaseModel):
    """A reservation."""

    reference: str


class BookFlight(
    Compensatable[Booked],
    service="airline",
    compensation="CancelFlight",
    attempt_timeout=AN_ATTEMPT,
    timeout=ALL_ATTEMPTS,
    retry=QUICK,
):
    """Hold a seat."""

    trip: str
    seats: PositiveInt = 1


class BookHotel(
    Compensatable[Booked],
    service="hotel",
    compensation="CancelHotel",
    attempt_timeout=AN_ATTEMPT,
    timeout=ALL_ATTEMPTS,
    retry=QUICK,
):
    """Hold a room."""

    trip: str

    def summary(self) -> str:
        return f"a room for {self.trip}"


class RentCar(
    Compensatable[Booked], service="cars", compensation="ReturnCar", timeout=timedelta(milliseconds=400), retry=QUICK
):
    """Hold a car, of a service that has no worker until a test gives it one."""

    trip: str


class RentBoat(
    Compensatable[Booked],
    service="boats",
    compensation="ReturnBoat",
    attempt_timeout=timedelta(milliseconds=800),
    timeout=timedelta(seconds=10),
    retry=Retry(attempts=1),
):
    """Hold a boat."""

    trip: str


class BookSauna(
    Compensatable[Booked],
    service="hotel",
    compensation="CancelSauna",
    timeout=timedelta(milliseconds=600),
    retry=QUICK,
):
    """Hold what no worker of the hotel has ever heard of; only of its undo."""

    trip: str


class ChargeCard(Pivot[Booked], service="bank", attempt_timeout=AN_ATTEMPT, timeout=ALL_ATTEMPTS, retry=QUICK):
    """Take the money."""

    trip: str


class SendTickets(Retriable[None], service="airline", attempt_timeout=timedelta(seconds=2), retry=QUICK):
    """Send what was bought."""

    trip: str

"""The trip that all engines run: book a flight and a hotel, charge the card, send the tickets; one event each."""

from __future__ import annotations

from pydantic import BaseModel

from counteract import Compensatable, Decider, Event, Pivot, Retriable


class TripRequest(BaseModel):
    trip: str
    steps: str | None = None
    """The task queue of the steps, where that is not fixed: None is the saga's own."""


class Done(BaseModel):
    """The answer of every step."""

    reference: str


class FlightBooked(Event):
    trip: str


class FlightCancelled(Event):
    trip: str


class HotelBooked(Event):
    trip: str


class HotelCancelled(Event):
    trip: str


class CardCharged(Event):
    trip: str


class TicketsSent(Event):
    trip: str


class BookFlight(Compensatable[Done], service="travel", compensation="CancelFlight"):
    """Hold a seat."""

    trip: str


class BookHotel(Compensatable[Done], service="travel", compensation="CancelHotel"):
    """Hold a room."""

    trip: str


class ChargeCard(Pivot[Done], service="travel"):
    """Take the money."""

    trip: str


class SendTickets(Retriable[Done], service="travel"):
    """Send what was bought."""

    trip: str


def _count(state: int, _: Event) -> int:
    return state + 1


# Every service keeps streams of its own. The state is the number of events.
flights = Decider("flight", initial=0, evolve=_count, events=FlightBooked | FlightCancelled)
hotels = Decider("hotel", initial=0, evolve=_count, events=HotelBooked | HotelCancelled)
charges = Decider("charge", initial=0, evolve=_count, events=CardCharged)
tickets = Decider("tickets", initial=0, evolve=_count, events=TicketsSent)

"""The trip's handlers, each beside its undo: load, decide, append."""

from __future__ import annotations

from benchmarks.engines import trip
from benchmarks.engines.trip import BookFlight, BookHotel, ChargeCard, Done, SendTickets
from counteract.participants import Streams, Undo, compensates, handles


@handles(BookFlight)
async def book_flight(command: BookFlight, streams: Streams) -> Done:
    flight = await streams.load(trip.flights, command.trip)
    if not flight.state:
        flight.append(trip.FlightBooked(trip=command.trip))
    return Done(reference=f"flight-{command.trip}")


@compensates(BookFlight)
async def cancel_flight(undo: Undo[BookFlight, Done], streams: Streams) -> None:
    """Safe when nothing was booked, or was cancelled before."""
    flight = await streams.load(trip.flights, undo.command.trip)
    if flight.state == 1:
        flight.append(trip.FlightCancelled(trip=undo.command.trip))


@handles(BookHotel)
async def book_hotel(command: BookHotel, streams: Streams) -> Done:
    hotel = await streams.load(trip.hotels, command.trip)
    if not hotel.state:
        hotel.append(trip.HotelBooked(trip=command.trip))
    return Done(reference=f"hotel-{command.trip}")


@compensates(BookHotel)
async def cancel_hotel(undo: Undo[BookHotel, Done], streams: Streams) -> None:
    """Safe when nothing was booked, or was cancelled before."""
    hotel = await streams.load(trip.hotels, undo.command.trip)
    if hotel.state == 1:
        hotel.append(trip.HotelCancelled(trip=undo.command.trip))


@handles(ChargeCard)
async def charge_card(command: ChargeCard, streams: Streams) -> Done:
    charge = await streams.load(trip.charges, command.trip)
    if not charge.state:
        charge.append(trip.CardCharged(trip=command.trip))
    return Done(reference=f"charge-{command.trip}")


@handles(SendTickets)
async def send_tickets(command: SendTickets, streams: Streams) -> Done:
    sent = await streams.load(trip.tickets, command.trip)
    if not sent.state:
        sent.append(trip.TicketsSent(trip=command.trip))
    return Done(reference=f"tickets-{command.trip}")

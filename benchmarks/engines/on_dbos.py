"""The trip on DBOS: a workflow of steps, try/except, undo in reverse, and its state in the same PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from benchmarks.engines.runner import Run
from benchmarks.engines.writers import Pool, pool, write


@asynccontextmanager
async def running() -> AsyncIterator[Run]:
    """DBOS as a library in this process; there is no server of its own."""
    # By name: the other comparisons run without it, and the type checker does too.
    library = import_module("dbos")
    dbos = library.DBOS
    async with pool(os.environ["DATABASE_URL"]) as connections:
        dbos(
            config={
                "name": "trips",
                "system_database_url": os.environ["DBOS_DATABASE_URL"],
                "log_level": "WARNING",
                "enable_otlp": False,
            }
        )
        trip = trips(dbos, connections)
        dbos.launch()
        try:

            async def run(name: str) -> Any:
                with library.SetWorkflowID(name):
                    return await trip(name)

            yield run
        finally:
            dbos.destroy()


def trips(dbos: Any, connections: Pool) -> Callable[[str], Awaitable[str]]:
    """The workflow, registered."""

    def step(kind: str, event_type: str, version: int) -> Callable[[str], Awaitable[str]]:
        async def take(trip: str) -> str:
            await write(connections, kind, trip, event_type, version)
            return f"{kind}-{trip}"

        stepped: Callable[[str], Awaitable[str]] = dbos.step(name=event_type)(take)
        return stepped

    book_flight, cancel_flight = step("flight", "FlightBooked", 1), step("flight", "FlightCancelled", 2)
    book_hotel, cancel_hotel = step("hotel", "HotelBooked", 1), step("hotel", "HotelCancelled", 2)
    charge_card, send_tickets = step("charge", "CardCharged", 1), step("tickets", "TicketsSent", 1)

    async def trip(name: str) -> str:
        undo: list[Callable[[str], Awaitable[str]]] = []
        try:
            undo.append(cancel_flight)
            await book_flight(name)
            undo.append(cancel_hotel)
            await book_hotel(name)
            await charge_card(name)
        except Exception:
            for compensation in reversed(undo):
                await compensation(name)
            raise
        return await send_tickets(name)

    registered: Callable[[str], Awaitable[str]] = dbos.workflow(name="trip")(trip)
    return registered

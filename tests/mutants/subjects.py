"""The sagas that each mutant is explored with: small ones, which together go every way that a saga can."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import timedelta

from rich.console import Console
from temporalio.client import Client

from counteract.store import PostgresEventStore
from counteract.testing import explore
from tests.travel.booking import BookFlight, BookHotel, ChargeCard
from tests.travel.excursions import Excursion
from tests.travel.trips import Trip, TripRequest

Subject = Callable[..., Awaitable[object]]

LIMIT = 40.0
"""Seconds after which a run counts as hung."""

QUICK = 20.0
"""And so many where few faults are tried."""


async def trip(store: PostgresEventStore, client: Client, console: Console, only: str | None = None) -> None:
    await explore(
        Trip,
        lambda run: TripRequest(trip=run, flights=2, deadline=timedelta(hours=1)),
        external=[BookHotel, ChargeCard],
        correct=lambda command: command.model_copy(update={"trip": "another"}),
        store=store,
        client=client,
        console=console,
        limit=LIMIT if only is None else QUICK,
        only=only,
        concurrency=8,
        fail_fast=not os.environ.get("ALL"),
    )


async def excursion(store: PostgresEventStore, client: Client, console: Console, only: str | None = None) -> None:
    await explore(
        Excursion,
        lambda run: TripRequest(trip=run),
        external=[BookFlight],
        correct=lambda command: command.model_copy(update={"trip": "another"}),
        store=store,
        client=client,
        console=console,
        limit=LIMIT if only is None else QUICK,
        only=only,
        concurrency=8,
        fail_fast=not os.environ.get("ALL"),
    )


SUBJECTS: list[Subject] = [trip, excursion]

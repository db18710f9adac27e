"""The sagas that each mutant is explored with: small ones, which together go every way that a saga can."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Console
from temporalio.client import Client

from counteract.messages import Command
from counteract.saga import SagaWorkflow
from counteract.store import PostgresEventStore
from counteract.testing import explore
from tests.mutants.sagas import Careless, Flexible, Hasty
from tests.travel.all_in_one import Excursion
from tests.travel.booking import BookFlight, BookHotel, ChargeCard
from tests.travel.several_runs import Journey, Leg
from tests.travel.trips import Trip, TripRequest

LIMIT = 40.0
"""Seconds after which a run counts as hung."""

QUICK = 20.0
"""The same where few faults are tried."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One saga, and what it is explored with."""

    saga: type[SagaWorkflow]
    request: Callable[[str], Any]
    external: Collection[type[Command[Any]]] = ()

    @property
    def name(self) -> str:
        return self.saga.__name__

    async def explore(
        self, store: PostgresEventStore, client: Client, console: Console, only: str | None = None
    ) -> None:
        """Explore the saga without an invariant: only what exploration notices by itself counts."""
        await explore(
            self.saga,
            self.request,
            external=self.external,
            correct=lambda command: command.model_copy(update={"trip": "another"}),
            store=store,
            client=client,
            console=console,
            limit=LIMIT if only is None else QUICK,
            only=only,
            concurrency=8,
            fail_fast=not os.environ.get("ALL"),
        )


SUBJECTS = [
    Subject(
        Trip,
        lambda run: TripRequest(trip=run, flights=2, deadline=timedelta(hours=1)),
        external=[BookHotel, ChargeCard],
    ),
    Subject(Excursion, lambda run: TripRequest(trip=run), external=[BookFlight]),
    Subject(Hasty, lambda run: TripRequest(trip=run), external=[ChargeCard]),
    Subject(Careless, lambda run: TripRequest(trip=run), external=[BookHotel]),
    Subject(Flexible, lambda run: TripRequest(trip=run), external=[BookHotel, ChargeCard]),
    Subject(Journey, lambda run: Leg(trip=TripRequest(trip=run), legs=2), external=[ChargeCard]),
]

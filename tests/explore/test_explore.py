"""Sagas that are right survive every single fault: with scripted services, and with real handlers on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.client import Client

from counteract.dev import EmbeddedTemporal
from counteract.participants import Participants
from counteract.store import ANY, PostgresEventStore
from counteract.testing import Explored, explore
from tests.mutants.sagas import Hasty
from tests.travel import bank
from tests.travel.bank import Account, CardCompany, Deposited, accounts
from tests.travel.bank_sagas import Outing, OutingRequest
from tests.travel.booking import BookHotel, ChargeCard
from tests.travel.trips import Trip, TripRequest

pytestmark = [pytest.mark.explore, pytest.mark.timeout(600)]


@pytest.fixture
async def client(temporal: EmbeddedTemporal) -> Client:
    return await Client.connect(temporal.address)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(database_url, pool_size=20) as store:
        yield store


@pytest.mark.long
async def test_a_trip_with_scripted_services_survives_every_single_fault_and_some_pairs(
    client: Client, store: PostgresEventStore
) -> None:
    exploration = await explore(
        Trip,
        lambda run: TripRequest(trip=run, flights=2, deadline=timedelta(minutes=5)),
        external=[BookHotel, ChargeCard],
        correct=lambda command: command.model_copy(update={"trip": "another"}),
        client=client,
        store=store,
        pairs=True,
        sample=10,
        seed=1,
    )

    assert [run for run in exploration.not_reached if len(run.fault.parts) == 1] == []
    assert {run.fault.target for run in exploration.runs} >= {"BookFlight#2", "undo BookHotel", "settle ChargeCard"}


@pytest.mark.long
async def test_a_saga_that_is_asked_for_its_report_while_it_is_cancelled_replays(
    client: Client, store: PostgresEventStore
) -> None:
    """Exploration asks for the report right behind the cancellation.

    Where the engine does not wait in between, one history in four cannot be replayed for the report in the end.
    """
    for _ in range(12):
        await explore(
            Hasty,
            lambda run: TripRequest(trip=run),
            external=[ChargeCard],
            client=client,
            store=store,
            only="ChargeCard: begun, then reset and cancelled",
        )


@pytest.mark.long
async def test_an_outing_with_real_handlers_survives_every_single_fault(
    client: Client, store: PostgresEventStore
) -> None:
    company = CardCompany()

    async def the_account_adds_up(run: Explored) -> bool:
        account = (await store.load(accounts, run.id)).state
        return account == (Account(40, {}) if run.ending == "completed" else Account(100, {}))

    async def asked_for(run_id: str) -> OutingRequest:
        await store.append(accounts.stream(run_id), [Deposited(amount=100)], expect=ANY)
        return OutingRequest(account=run_id, trip=run_id, amount=60)

    exploration = await explore(
        Outing,
        asked_for,
        participants=Participants(store, bank, resources=[company]),
        client=client,
        invariant=the_account_adds_up,
    )

    assert exploration.not_reached == []

"""Sagas that are right survive every single fault: with scripted services, and with real handlers on real servers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from activities import orders, payments, shipments, stock
from activities.payment_port import HttpPaymentProvider
from counteract.dev import EmbeddedTemporal
from counteract.dev.ports import free_port
from counteract.dev.process import GuardedProcess, Launch
from counteract.participants import Participants
from counteract.store import ANY, PostgresEventStore
from counteract.testing import Explored, explore
from marketplace.catalogue import catalogue, load
from marketplace.invariants import Facts, findings
from tests.market import request
from tests.travel import bank
from tests.travel.bank import Account, CardCompany, Deposited, accounts
from tests.travel.booking import BookHotel, ChargeCard
from tests.travel.outings import Outing, OutingRequest
from tests.travel.trips import Trip, TripRequest
from workflows.checkout import Checkout

pytestmark = [pytest.mark.explore, pytest.mark.timeout(180)]


@pytest.fixture
async def client(temporal: EmbeddedTemporal) -> Client:
    return await Client.connect(temporal.address)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(database_url, pool_size=20) as store:
        yield store


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


@pytest.fixture
async def provider_url(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "payment_provider", "--port", str(port)]
    process = await GuardedProcess.start(Launch(name="provider", command=command, log=tmp_path / "provider.log"))
    try:
        while not process.printed("ready"):
            assert not process.has_ended, process.reason()
            await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        await process.stop()


async def test_a_checkout_with_the_marketplaces_own_handlers_survives_every_single_fault(
    client: Client, store: PostgresEventStore, provider_url: str
) -> None:
    goods = catalogue()
    await load(store, goods)

    async def the_market_adds_up() -> None:
        found = findings(await Facts.gathered(store, provider_url))
        assert [finding for finding in found if not finding.holds] == []

    async with HttpPaymentProvider.open(provider_url) as provider:
        exploration = await explore(
            Checkout,
            lambda run: request(goods.plain[int(run.rpartition("-")[2]) % len(goods.plain)]),
            participants=Participants(store, orders, payments, shipments, stock, resources=[provider]),
            client=client,
            at_rest=the_market_adds_up,
        )

    assert exploration.not_reached == []

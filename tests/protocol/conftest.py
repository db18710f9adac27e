"""The bank and its tours, once for each module: every test has an account and workflow ids of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.worker import Worker

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.dev.fixtures import fresh_database
from counteract.participants import Participants
from counteract.plugin import CounteractPlugin
from counteract.store import ANY, PostgresEventStore
from tests.protocol import domain, films
from tests.protocol.runs import Run, Town
from tests.protocol.stage import Stage
from tests.travel import bank
from tests.travel.bank import CardCompany, Deposited, accounts
from tests.travel.world import Post


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bank_of_the_module(postgres: EmbeddedPostgres, temporal: EmbeddedTemporal) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(postgres))
        store = await stack.enter_async_context(PostgresEventStore.open(url, pool_size=10))
        client = await Client.connect(temporal.address, plugins=[CounteractPlugin(store=store)])
        company, post, queue = CardCompany(), Post(), f"tours-{uuid4().hex[:8]}"
        services = Participants(store, bank, films, resources=[company])
        for worker in [
            *services.workers(client, graceful_shutdown_timeout=timedelta(seconds=1), interceptors=[post]),
            Worker(client, task_queue=queue, workflows=domain.FLOWS),
        ]:
            await stack.enter_async_context(worker)
        yield Stage(client, store, company, queue, post)


@pytest.fixture
def stage(bank_of_the_module: Stage) -> Iterator[Stage]:
    company, post = bank_of_the_module.company, bank_of_the_module.post
    yield bank_of_the_module
    company.loses_answers = company.declines = company.unreachable = False
    company.gate.set()
    company.reached.clear()
    company.authorized.clear()
    company.voided.clear()
    company.captured.clear()
    company.asked.clear()
    post.loses_answers.clear()
    post.loses_orders.clear()
    post.delays.clear()


@pytest.fixture
def name() -> str:
    """Of an account, and of the saga that uses it."""
    return f"tour-{uuid4().hex[:12]}"


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with PostgresEventStore.open(database_url) as store:
        await store.append(accounts.stream("ann"), [Deposited(amount=100)], expect=ANY)
        yield Town(store, CardCompany())


@pytest.fixture
async def first(town: Town) -> Run:
    """A saga's first run."""
    return await town.begin()

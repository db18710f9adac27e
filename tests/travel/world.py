"""The bank's services and the outing saga on the session's servers, with a database for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from counteract import ANY, CounteractPlugin, Lifecycle, Participants, PostgresEventStore
from counteract.dev import EmbeddedTemporal
from counteract.lifecycle import sagas
from tests.travel import bank, sealed_payloads
from tests.travel.bank import Account, CardCompany, Deposited, accounts
from tests.travel.bank_sagas import CardOuting, Errand, HurriedOuting, Outing, OutingRequest, Purchase
from tests.travel.parent_saga import Holiday


class Post(Interceptor):
    """Between the server and the bank: it loses orders before they are carried out or delays them, or loses their answers."""

    def __init__(self) -> None:
        self.loses_orders: set[str] = set()
        self.loses_answers: set[str] = set()
        self.delays: set[str] = set()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        post = self

        class Delivery(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
                name = activity.info().activity_type
                if name in post.loses_orders:
                    raise ApplicationError("the order was lost", non_retryable=True)
                if name in post.delays:
                    raise ApplicationError("no post today", next_retry_delay=timedelta(seconds=0.2))
                result = await super().execute_activity(input)
                if name in post.loses_answers:
                    raise ApplicationError("the answer was lost", non_retryable=True)
                return result

        return Delivery(next)


@dataclass
class World:
    """Everything that a test looks at."""

    client: Client
    store: PostgresEventStore
    company: CardCompany
    queue: str
    post: Post

    async def outing(self, trip: str, amount: int = 60) -> list[str]:
        request = OutingRequest(account="ann", trip=trip, amount=amount)
        return await self.client.execute_workflow(Outing.run, request, id=trip, task_queue=self.queue)

    async def account(self) -> Account:
        return (await self.store.load(accounts, "ann")).state

    async def lifecycle(self, trip: str) -> list[str]:
        return [each.event_type for each in await self.store.read_stream(sagas.stream(trip))]


@asynccontextmanager
async def open_world(database_url: str, connect: Callable[[Lifecycle], Awaitable[Client]]) -> AsyncIterator[World]:
    """With workers of the client that `connect` makes."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresEventStore.open(database_url))
        await store.append(accounts.stream("ann"), [Deposited(amount=100)], expect=ANY)
        client = await connect(Lifecycle(store))
        company, post, queue = CardCompany(), Post(), f"outings-{uuid4().hex[:8]}"
        # Long polls end with their worker: a short grace keeps the next test from waiting for this one's.
        workers = [
            *Participants(store, bank, resources=[company]).workers(
                client, graceful_shutdown_timeout=timedelta(seconds=1), interceptors=[post]
            ),
            Worker(client, task_queue=queue, workflows=[CardOuting, Errand, Holiday, HurriedOuting, Outing, Purchase]),
        ]
        for worker in workers:
            await stack.enter_async_context(worker)
        yield World(client, store, company, queue, post)


@pytest_asyncio.fixture(loop_scope="session")
async def world(temporal: EmbeddedTemporal, database_url: str) -> AsyncIterator[World]:
    async def connect(lifecycle: Lifecycle) -> Client:
        return await Client.connect(temporal.address, plugins=[CounteractPlugin(lifecycle)])

    async with open_world(database_url, connect) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def sealed_world(temporal: EmbeddedTemporal, database_url: str) -> AsyncIterator[World]:
    """The same, where the server cannot read a payload. Not beside `world`: their workers would take each other's tasks."""
    async with open_world(database_url, partial(sealed_payloads.connect, target_host=temporal.address)) as opened:
        yield opened


@pytest.fixture
def trip() -> str:
    return f"outing-{uuid4().hex[:12]}"

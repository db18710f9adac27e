"""The bank and its tours, once for each module: every test has an account and workflow ids of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import Worker

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.dev.fixtures import fresh_database
from counteract.lifecycle import Found
from counteract.participants import Participants
from counteract.plugin import CounteractPlugin
from counteract.store import ANY, PostgresEventStore
from tests.protocol import domain, films
from tests.protocol.domain import Plan, Tour
from tests.protocol.runs import Run, Town
from tests.travel import bank
from tests.travel.bank import Account, CardCompany, Deposited, accounts
from tests.travel.world import Post, World

Handle = WorkflowHandle[Any, Any]


class Stage(World):
    """What the tests of the protocol look at and pull at."""

    async def tour(
        self,
        account: str,
        *steps: str,
        options: dict[str, Any] | None = None,
        flow: type[Tour] = Tour,
        **more: Any,
    ) -> Handle:
        """A tour that has been started, under the name of its account."""
        await self.store.append(accounts.stream(account), [Deposited(amount=100)], expect=ANY)
        plan = Plan(account=account, steps=list(steps), **more)
        return await self.client.start_workflow(flow.run, plan, id=account, task_queue=self.queue, **(options or {}))

    def handle(self, saga: str) -> Handle:
        """Of whichever run is the last."""
        return self.client.get_workflow_handle(saga)

    async def money(self, account: str) -> Account:
        return (await self.store.load(accounts, account)).state

    async def state(self, saga: str) -> str:
        ((state,),) = await self.sql("select state from sagas where saga_id = %s order by began_at desc limit 1", saga)
        return str(state)

    async def sql(self, query: str, *arguments: Any) -> list[Any]:
        async with self.store.connection() as connection:
            done = await connection.execute(query, arguments)
            return await done.fetchall() if done.description else []

    async def applied(self, saga: str, step: str) -> None:
        """Wait until the saga's own report says so."""

        async def is_applied() -> bool:
            report = await self.handle(saga).query("report")
            steps = report["steps"] if report else []
            return any(each["step"] == step and each["outcome"] == "applied" for each in steps)

        await until(is_applied)

    async def begun(self, saga: str, step: str) -> None:
        async def has_begun() -> bool:
            return any(each["step"] == step for each in (await self.handle(saga).query("report"))["steps"])

        await until(has_begun)

    async def stuck(self, saga: str) -> None:
        async def is_stuck() -> bool:
            report = await self.handle(saga).query("report")
            return report is not None and report["status"] == "STUCK"

        await until(is_stuck)

    async def round(self, *arguments: Any, id: str | None = None) -> list[Found]:  # noqa: A002 - as Temporal calls it
        """One round of recovery."""
        found: list[Found] = await self.client.execute_workflow(
            "RecoverSagas",
            args=arguments,
            id=id or f"recover-{uuid4().hex[:8]}",
            task_queue=self.queue,
            result_type=list[Found],
        )
        return found

    async def recovered(self, handle: Handle) -> str:
        """A round, and how the recovery of this saga ended."""
        found = await self.round()
        assert handle.id in [each.saga_id for each in found if each.what == "recovering"], found
        run_id = (
            await self.sql("select run_id from sagas where saga_id = %s order by began_at desc limit 1", handle.id)
        )[0][0]
        return await ending(self.handle(f"recover {handle.id} {run_id}"))

    def effects_left(self) -> int:
        """Authorisations that the card company holds and nobody has voided."""
        return len(set(self.company.authorized) - set(self.company.voided))


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


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - it happens in a worker
            await asyncio.sleep(0.03)


async def ending(handle: Handle) -> str:
    """How a workflow ended, in a word or two."""
    try:
        async with asyncio.timeout(60):
            await handle.result()
    except WorkflowFailureError as error:
        return str(getattr(error.cause, "type", None) or type(error.cause).__name__)
    return "done"


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with PostgresEventStore.open(database_url) as store:
        await store.append(accounts.stream("ann"), [Deposited(amount=100)], expect=ANY)
        yield Town(store, CardCompany())


@pytest.fixture
async def first(town: Town) -> Run:
    """A saga's first run."""
    return await town.begin()


async def being_settled(stage: Stage, name: str) -> None:
    """Its pivot took effect, its answer was lost, and the provider cannot say yet what became of it."""
    await until(lambda: _has_captured(stage))
    stage.company.gate.clear()
    stage.post.loses_orders = {"Capture"}

    async def is_fenced() -> bool:
        rows = await stage.sql("select status from commands where saga_id = %s and step = 'Capture'", name)
        return rows == [("fenced",)]

    await until(is_fenced)


async def _has_captured(stage: Stage) -> bool:
    return bool(stage.company.captured)

"""The checkout without an orchestrator, on processes of its own: it ends as the orchestrated one does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
from temporalio.client import Client

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.dev.fixtures import as_application, fresh_database
from counteract.dev.ports import free_port
from counteract.plugin import CounteractPlugin
from counteract.store import NO_STREAM, PostgresEventStore
from counteract.store.postgres.connect import async_engine
from counteract.subscriptions import position_of
from counteract.subscriptions.lease import start_over
from domain.checkout import CheckoutRequest
from domain.orders import OrderStatus, orders
from marketplace.catalogue import catalogue, load
from marketplace.invariants import Facts, findings
from tests.choreography.checkout import REACTIONS, CartSubmitted, carts
from tests.market import ROOT, Market, line, request
from workflows.checkout import Checkout

pytestmark = [pytest.mark.integration, pytest.mark.program]

DECLINED = "tok_declined"


@pytest.fixture
async def fair(postgres: EmbeddedPostgres, temporal: EmbeddedTemporal, tmp_path: Path) -> AsyncIterator[Market]:
    """The marketplace without its orchestrator."""
    port = free_port()
    provider_url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        url = as_application(postgres, await stack.enter_async_context(fresh_database(postgres)))
        env = os.environ | {
            "DATABASE_URL": url,
            "TEMPORAL_ADDRESS": temporal.address,
            "PAYMENT_PROVIDER_URL": provider_url,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }
        store = await stack.enter_async_context(PostgresEventStore.open(url))
        client = await Client.connect(temporal.address, plugins=[CounteractPlugin()])
        fair = Market(client, store, catalogue(), temporal.address, url, provider_url, env, tmp_path)
        await load(store, fair.catalogue)
        try:
            await fair.run("provider", "-m", "payment_provider", "--port", str(port))
            await fair.run("choreography", "-m", "tests.choreography")
            yield fair
        finally:
            for process in reversed(fair.processes.values()):
                await process.stop()


async def submit(fair: Market, what: CheckoutRequest) -> None:
    cart = CartSubmitted(customer_id=what.customer_id, lines=what.lines, address=what.address, payment=what.payment)
    await fair.store.append(carts.stream(what.order_id), [cart], expect=NO_STREAM)


async def outcome(fair: Market, what: CheckoutRequest) -> str:
    """Nobody tells how it ended: it is to be gathered from what the services have reported."""
    async with asyncio.timeout(60):
        while True:
            cart = {each.event_type for each in await fair.store.read_stream(carts.stream(what.order_id))}
            order = (await fair.store.load(orders, what.order_id)).state.status
            items = [(await fair.stock(product)) for product in fair.catalogue.products]
            if "CartRefused" in cart:
                return "refused"
            if order is OrderStatus.COMPLETED:
                return "completed"
            if order is OrderStatus.CANCELLED and not any(what.order_id in item.held for item in items):
                return "cancelled"
            await asyncio.sleep(0.05)


async def deliver_everything_again(fair: Market) -> None:
    engine = async_engine(fair.database_url)
    async with engine.begin() as connection:
        for reaction in REACTIONS:
            await start_over(connection, f"reaction {reaction.name}")
    await engine.dispose()


async def all_delivered(fair: Market) -> None:
    mark = await fair.store.high_water_mark()
    async with asyncio.timeout(30):
        for reaction in REACTIONS:
            while await position_of(fair.store, f"reaction {reaction.name}") < mark:  # noqa: ASYNC110 - in a database
                await asyncio.sleep(0.05)


async def check(fair: Market) -> None:
    facts = await Facts.gathered(fair.store, fair.provider_url)
    assert [each for each in findings(facts) if not each.holds] == []


async def test_checkouts_end_as_they_should_and_leave_nothing_behind(fair: Market) -> None:
    plain, scarce = fair.catalogue.plain, fair.catalogue.scarce[0]
    happy = request(plain[0], plain[1], quantity=2)
    refused = request(plain[2]).model_copy(update={"lines": (line(plain[2]), line(scarce, 10))})
    declined = request(plain[3], plain[4], token=DECLINED)
    for what in (happy, refused, declined):
        await submit(fair, what)

    assert [await outcome(fair, what) for what in (happy, refused, declined)] == ["completed", "refused", "cancelled"]
    await check(fair)


async def test_a_killed_process_and_everything_delivered_twice_change_no_outcome(fair: Market) -> None:
    plain = fair.catalogue.plain
    happy = [request(each) for each in plain[:4]]
    declined = [request(each, token=DECLINED) for each in plain[4:6]]
    for what in (*happy, *declined):
        await submit(fair, what)
    await asyncio.sleep(0.5)
    await fair.processes["choreography"].kill()
    await deliver_everything_again(fair)
    await fair.run("choreography", "-m", "tests.choreography")

    assert {await outcome(fair, what) for what in happy} == {"completed"}
    assert {await outcome(fair, what) for what in declined} == {"cancelled"}
    before = await fair.store.high_water_mark()
    await deliver_everything_again(fair)
    await all_delivered(fair)
    assert await fair.store.high_water_mark() == before, "no event more"
    await check(fair)


async def history_lengths(fair: Market) -> list[int]:
    """Of the workflows that stand behind all events so far."""
    mark = await fair.store.high_water_mark()
    starts = [
        f"{reaction.name} {event.event_id} 0"
        for event in await fair.store.read(after=0, up_to=mark, limit=10_000)
        for reaction in REACTIONS
        if event.event_type in {each.__name__ for each in reaction.events}
    ]
    return [(await fair.client.get_workflow_handle(each).describe()).history_length for each in starts]


@pytest.mark.long
async def test_both_kinds_of_checkout_compared(fair: Market, market: Market) -> None:
    """What docs/choreography.md says about latency, events and workflows: `-m long -s -k compared` prints it."""
    orchestrated, choreographed, lengths_of_sagas, rounds = [], [], [], 20
    before = await fair.store.high_water_mark(), await market.store.high_water_mark()
    for number in range(rounds):
        what = request(market.catalogue.plain[number])
        began = perf_counter()
        workflow_id = f"checkout-{what.order_id}"
        handle = await market.client.start_workflow(Checkout.run, what, id=workflow_id, task_queue="sagas")
        await handle.result()
        orchestrated.append(perf_counter() - began)
        lengths_of_sagas.append((await handle.describe()).history_length)

        what = request(fair.catalogue.plain[number])
        began = perf_counter()
        await submit(fair, what)
        while (await fair.store.load(orders, what.order_id)).state.status is not OrderStatus.COMPLETED:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        choreographed.append(perf_counter() - began)
    lengths = await history_lengths(fair)
    ours = len(await fair.store.read(after=before[0], up_to=await fair.store.high_water_mark(), limit=10_000))
    theirs = len(await market.store.read(after=before[1], up_to=await market.store.high_water_mark(), limit=10_000))
    print(
        f"\norchestrated: {median(orchestrated):.3f} s, {theirs / rounds} events, 1 workflow, {median(lengths_of_sagas)} in its history"
    )
    print(
        f"choreographed: {median(choreographed):.3f} s, {ours / rounds} events,"
        f" {len(lengths) / rounds} workflows, {sum(lengths) / rounds} in their histories"
    )
    assert len(lengths) == 7 * rounds

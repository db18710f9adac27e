"""The marketplace's other transactions and its read models, with every process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import WorkflowFailureError

from counteract.projections import reached
from counteract.store import decide
from counteract.store.postgres.connect import async_engine
from domain.checkout import CheckoutRequest, Receipt
from domain.orders import OrderStatus, orders
from domain.products import ReplacementRequest, products, set_price
from domain.shipments import Delivered, DeliveryRequest, shipments
from projections import READ_MODELS, product_replicas, saga_progress, seller_dashboard, stock_levels
from projections.customer_statistics import Statistics, statistics_of
from projections.seller_dashboard import dashboard, due_deliveries
from tests.market import ROOT, Market, request
from workflows.checkout import Checkout
from workflows.delivery import Delivery
from workflows.replacement import ProductReplacement

pytestmark = [pytest.mark.integration, pytest.mark.program]


@pytest.fixture
async def engine(market: Market) -> AsyncIterator[AsyncEngine]:
    engine = async_engine(market.database_url)
    yield engine
    await engine.dispose()


async def check_out(market: Market, what: CheckoutRequest) -> Receipt:
    return await market.client.execute_workflow(Checkout.run, what, id=f"checkout-{what.order_id}", task_queue="sagas")


async def deliver(market: Market, order_id: str, seller_id: str) -> Delivered:
    return await market.client.execute_workflow(
        Delivery.run,
        DeliveryRequest(order_id=order_id, seller_id=seller_id),
        id=f"deliver-{order_id}-{seller_id}",
        task_queue="sagas",
    )


async def shown(market: Market) -> None:
    end = await market.store.high_water_mark()
    for each in READ_MODELS:
        await reached(market.store, each.name, end, timeout=10)


async def row_of(engine: AsyncEngine, model: str, key: str) -> dict[str, object]:
    table = next(each.table for each in READ_MODELS if each.name == model)
    (column,) = table.primary_key.columns
    async with engine.connect() as connection:
        return dict((await connection.execute(select(table).where(column == key))).one()._mapping)


async def test_the_last_sellers_packages_conclude_the_shipment_and_deliver_the_order(
    market: Market, engine: AsyncEngine
) -> None:
    first = market.catalogue.plain[3]
    other = next(each for each in market.catalogue.plain if each.seller_id != first.seller_id)
    what = request(first, other)
    await check_out(market, what)

    assert await deliver(market, what.order_id, first.seller_id) == Delivered(packages=1, is_concluded=False)
    assert (await market.store.load(orders, what.order_id)).state.status is OrderStatus.COMPLETED
    assert await deliver(market, what.order_id, other.seller_id) == Delivered(packages=1, is_concluded=True)

    assert (await market.store.load(orders, what.order_id)).state.status is OrderStatus.DELIVERED
    assert (await market.store.load(shipments, what.order_id)).state.on_the_way == ()
    await shown(market)
    summary = await row_of(engine, "order-summary", what.order_id)
    assert (summary["status"], summary["packages"], summary["delivered"]) == ("delivered", 2, 2)
    progress = await row_of(engine, saga_progress.name, f"deliver-{what.order_id}-{other.seller_id}")
    assert (progress["saga_type"], progress["status"], progress["runs"]) == ("Delivery", "COMPLETED", 1)


async def test_a_seller_sees_the_open_lines_and_what_they_come_to(market: Market, engine: AsyncEngine) -> None:
    product = market.catalogue.plain[4]
    before = await dashboard(engine, product.seller_id)
    what = request(product, quantity=2)
    await check_out(market, what)
    await shown(market)

    after = await dashboard(engine, product.seller_id)
    (line,) = [each for each in after.lines if each.order_id == what.order_id]
    assert (line.product_id, line.quantity, line.amount) == (
        product.product_id, 2, 2 * product.unit_price + product.freight,
    )  # fmt: skip
    assert after.total == before.total + line.amount
    assert what.order_id in [order_id for order_id, _ in await due_deliveries(engine)] or before.lines

    await deliver(market, what.order_id, product.seller_id)
    await shown(market)
    assert (await dashboard(engine, product.seller_id)).total == before.total


async def due_of(engine: AsyncEngine, seller_id: str) -> str:
    return {seller: order_id for order_id, seller in await due_deliveries(engine)}[seller_id]


async def test_the_oldest_order_of_each_seller_is_due_first(market: Market, engine: AsyncEngine) -> None:
    product = market.catalogue.plain[5]
    orders_of = [request(product) for _ in range(2)]
    for what in orders_of:
        await check_out(market, what)
    await shown(market)
    while (due := await due_of(engine, product.seller_id)) != orders_of[0].order_id:
        await deliver(market, due, product.seller_id)
        await shown(market)
    await deliver(market, orders_of[0].order_id, product.seller_id)
    await shown(market)
    assert await due_of(engine, product.seller_id) == orders_of[1].order_id


async def test_a_dashboard_adds_up_while_lines_come_and_go(market: Market, engine: AsyncEngine) -> None:
    """The two queries, each in a transaction of its own, disagree under the same load: the test can fail."""
    table, seller_id = seller_dashboard.table, "seller-of-nobody"
    stop = asyncio.Event()

    async def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            async with engine.begin() as connection:
                row = {"order_id": f"o-{number}", "product_id": "p", "seller_id": seller_id, "amount": 1}
                await connection.execute(table.insert().values(product_name="x", quantity=1, **row))

    async def apart() -> bool:
        async with engine.connect() as connection:
            total = (await connection.execute(_total(seller_id))).scalar_one()
            await connection.commit()
            lines = (await connection.execute(select(table.c.amount).where(table.c.seller_id == seller_id))).all()
        return bool(total == len(lines))

    changing = asyncio.create_task(change())
    try:
        seen = [await dashboard(engine, seller_id) for _ in range(100)]
        agreed_apart = [await apart() for _ in range(100)]
    finally:
        stop.set()
        await changing
        async with engine.begin() as connection:
            await connection.execute(table.delete().where(table.c.seller_id == seller_id))
    assert [each.total for each in seen] == [len(each.lines) for each in seen]
    assert seen[0].total < seen[-1].total
    assert not all(agreed_apart)


def _total(seller_id: str) -> Select[int]:
    table = seller_dashboard.table
    return select(func.coalesce(func.sum(table.c.amount), 0)).where(table.c.seller_id == seller_id)


async def test_carts_with_the_version_before_are_refused(market: Market, engine: AsyncEngine) -> None:
    product = market.catalogue.plain[6]
    replacement = ReplacementRequest(product_id=product.product_id, product_version="v9", unit_price=4321)
    await market.client.execute_workflow(
        ProductReplacement.run, replacement, id=f"replace-{product.product_id}", task_queue="sagas"
    )

    assert (await market.stock(product)).version == "v9"
    with pytest.raises(WorkflowFailureError):
        await check_out(market, request(product))
    await shown(market)
    copy = await row_of(engine, product_replicas.name, product.product_id)
    assert (copy["product_version"], copy["unit_price"], copy["revision"]) == ("v9", 4321, 2)


async def test_copies_of_a_product_are_states_that_it_was_in_and_never_go_back(
    market: Market, engine: AsyncEngine
) -> None:
    product = market.catalogue.plain[7]
    rows = product_replicas.table.c
    query = select(rows.revision, rows.unit_price).where(rows.product_id == product.product_id)
    seen, done = list[tuple[int, int]](), asyncio.Event()

    async def copy() -> None:
        while not done.is_set():
            async with engine.connect() as connection:
                seen.append(tuple((await connection.execute(query)).one()))

    copying = asyncio.create_task(copy())
    prices = {1: product.unit_price}
    for price in range(1001, 1031):
        decided = await decide(market.store, products, product.product_id, partial(set_price, unit_price=price))
        prices[decided.version] = price
    await shown(market)
    done.set()
    await copying
    assert [revision for revision, _ in seen] == sorted(revision for revision, _ in seen)
    assert dict(seen).items() <= prices.items()


async def test_stock_levels_say_what_is_available_held_and_sold(market: Market, engine: AsyncEngine) -> None:
    product = market.catalogue.plain[8]
    sold = request(product, quantity=2)
    await check_out(market, sold)
    with pytest.raises(WorkflowFailureError):
        await check_out(market, request(product, quantity=3, token="tok_declined"))  # noqa: S106 - a mood
    await shown(market)

    level, item = await row_of(engine, stock_levels.name, product.product_id), await market.stock(product)
    assert (level["available"], level["held"], level["sold"]) == (
        item.available,
        item.reserved,
        sum(item.sold.values()),
    )
    assert level["holds"] == {}
    assert item.sold[sold.order_id] == 2


async def test_a_customers_statistics_count_what_was_paid_declined_and_delivered(
    market: Market, engine: AsyncEngine
) -> None:
    product, customer = market.catalogue.plain[9], "customer-of-these"
    paid, refused = (request(product, token=token) for token in ("tok_fine", "tok_declined"))
    receipt = await check_out(market, paid.model_copy(update={"customer_id": customer}))
    with pytest.raises(WorkflowFailureError):
        await check_out(market, refused.model_copy(update={"customer_id": customer}))
    await deliver(market, paid.order_id, product.seller_id)
    await shown(market)

    found = await statistics_of(engine, customer)
    assert found == Statistics(paid=1, declined=1, delivered=1, spent=receipt.totals.invoice)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_the_standard_mix_runs_and_everything_holds() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "marketplace.workload", "--seconds", "5", "--concurrency", "4", "--seed", "7"],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "The standard mix, 4 at once for 5 s (seed 7)" in run.stdout
    assert run.stdout.count("✓") == 7 + 8 + len(READ_MODELS)

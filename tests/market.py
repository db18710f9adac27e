"""The whole marketplace on the session's servers: worker, projections and payment provider as processes of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import Client

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.dev.fixtures import as_application, fresh_database
from counteract.dev.ports import free_port
from counteract.dev.process import GuardedProcess, Launch
from counteract.lifecycle import sagas
from counteract.plugin import CounteractPlugin
from counteract.store import PostgresEventStore
from domain.checkout import CartLine, CheckoutRequest
from domain.payments import Card, Method, PaymentMethod
from domain.shipments import Address
from domain.stock import StockItem, stock_item
from marketplace.catalogue import FIRST_VERSION, Catalogue, Product, catalogue, load

ROOT = Path(__file__).parent.parent


@dataclass
class Market:
    """A marketplace that is open for checkouts."""

    client: Client
    store: PostgresEventStore
    catalogue: Catalogue
    address: str
    database_url: str
    provider_url: str
    env: dict[str, str]
    logs: Path
    processes: dict[str, GuardedProcess] = field(default_factory=dict)

    async def run(self, name: str, *command: str, ready: str = "ready") -> GuardedProcess:
        """Start a Python program of the marketplace, and return once it says that it is ready."""
        launch = Launch(name=name, command=[sys.executable, *command], log=self.logs / f"{name}.log", env=self.env)
        process = self.processes[name] = await GuardedProcess.start(launch)
        async with asyncio.timeout(30):
            while not process.printed(ready):
                assert not process.has_ended, process.reason()
                await asyncio.sleep(0.02)
        return process

    async def stock(self, product: Product) -> StockItem:
        return (await self.store.load(stock_item, product.product_id)).state

    async def lifecycle(self, workflow_id: str) -> list[str]:
        return [each.event_type for each in await self.store.read_stream(sagas.stream(workflow_id))]


def request(*products: Product, token: str = "tok_fine", quantity: int = 1, partial: bool = False) -> CheckoutRequest:  # noqa: S107
    """A checkout of these products, with an order id of its own."""
    card = Card(token=token, holder="A. Customer", last_four="4242", expires="12/30")
    return CheckoutRequest(
        order_id=f"order-{uuid4().hex[:12]}",
        customer_id="customer-1",
        address=Address(name="A. Customer", street="1 Market Street", city="Rio", postal_code="20000", country="BR"),
        payment=PaymentMethod(method=Method.CREDIT_CARD, card=card),
        lines=tuple(line(product, quantity) for product in products),
        partial=partial,
    )


def line(product: Product, quantity: int = 1) -> CartLine:
    return CartLine(
        seller_id=product.seller_id,
        product_id=product.product_id,
        product_version=FIRST_VERSION,
        product_name=product.name,
        unit_price=product.unit_price,
        freight=product.freight,
        quantity=quantity,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def market(
    postgres: EmbeddedPostgres, temporal: EmbeddedTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Market]:
    """One for the session: its task queues have fixed names."""
    async with open_market(postgres, temporal, tmp_path_factory.mktemp("market")) as market:
        yield market


@asynccontextmanager
async def open_market(
    postgres: EmbeddedPostgres, temporal: EmbeddedTemporal, logs: Path, *services: str
) -> AsyncIterator[Market]:
    """With a worker for all services, or for these."""
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
        market = Market(client, store, catalogue(), temporal.address, url, provider_url, env, logs)
        stack.push_async_callback(_stop, market)
        await load(store, market.catalogue)
        await market.run("provider", "-m", "payment_provider", "--port", str(port))
        chosen = ["--services", ",".join(services)] if services else []
        await market.run("worker", str(ROOT / "worker.py"), *chosen)
        await market.run("projections", "-m", "projections")
        yield market


async def _stop(market: Market) -> None:
    for process in reversed(market.processes.values()):
        await process.stop()

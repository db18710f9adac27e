"""The transactions of the mix, as their customers see them: from the request until its answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from counteract import PostgresEventStore, decide
from domain.checkout import CartLine, CheckoutRequest
from domain.payments import Card, Method, PaymentMethod
from domain.products import ReplacementRequest, products, set_price
from domain.shipments import Address, DeliveryRequest
from marketplace.catalogue import Product
from projections import product_replicas
from projections.seller_dashboard import Dashboard, dashboard, due_deliveries
from workflows.checkout import Checkout
from workflows.delivery import Delivery
from workflows.replacement import ProductReplacement

CUSTOMERS = 50
MIX: Mapping[str, int] = {
    "checkout": 30,
    "seller dashboard": 5,
    "price update": 3,
    "product update": 2,
    "update delivery": 60,
}
"""The mix of transactions, in per cent."""


class Refused(Exception):
    """The answer is no, as it should be."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A product, as a cart copied it."""

    product_id: str
    seller_id: str
    name: str
    product_version: str
    unit_price: int
    freight: int
    revision: int


@dataclass(slots=True)
class Tally:
    """The durations of one kind of transaction, in seconds: of those carried out, and of those refused."""

    done: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Customers:
    """All customers, and what they saw."""

    client: Client
    store: PostgresEventStore
    engine: AsyncEngine
    goods: Sequence[Product]
    seed: int
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    dashboards: list[Dashboard] = field(default_factory=list)
    copies: list[list[Replica]] = field(default_factory=list)
    """The replicas that each customer copied, in order."""
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def ask(self, seconds: float, concurrency: int) -> None:
        """Have so many customers ask at once, each for one thing after another."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._one(number, end) for number in range(concurrency)))

    async def _one(self, number: int, end: float) -> None:
        dice = random.Random(f"{self.seed} {number}")  # noqa: S311 - repeatable, no secret
        copied: list[Replica] = []
        self.copies.append(copied)
        transactions: Mapping[str, Callable[[], Awaitable[None]]] = {
            "checkout": partial(self._check_out, dice, copied),
            "seller dashboard": partial(self._look_at_dashboard, dice),
            "price update": partial(self._update_price, dice),
            "product update": partial(self._replace_product, dice),
            "update delivery": self._update_delivery,
        }
        while time.monotonic() < end:
            (name,) = dice.choices(list(MIX), list(MIX.values()))
            began = time.monotonic()
            try:
                await transactions[name]()
                self.tallies[name].done.append(time.monotonic() - began)
            except Refused:
                self.tallies[name].refused.append(time.monotonic() - began)

    async def _check_out(self, dice: random.Random, copied: list[Replica]) -> None:
        """Check out: a saga, since several services change."""
        order_id = f"order-{next(self._numbers)}"
        cart = [await self._copy(product) for product in dice.sample(self.goods, dice.randint(1, 4))]
        copied += cart
        token = "tok_declined" if dice.random() < 0.05 else "tok_fine"
        card = Card(token=token, holder="A. Customer", last_four="4242", expires="12/30")
        request = CheckoutRequest(
            order_id=order_id,
            customer_id=f"customer-{dice.randint(1, CUSTOMERS)}",
            address=Address(
                name="A. Customer", street="1 Market Street", city="Rio", postal_code="20000", country="BR"
            ),
            payment=PaymentMethod(method=Method.CREDIT_CARD, card=card),
            lines=tuple(_line(each, dice.randint(1, 3)) for each in cart),
        )
        try:
            await self.client.execute_workflow(Checkout.run, request, id=f"checkout-{order_id}", task_queue="sagas")
        except WorkflowFailureError as failure:
            raise Refused from failure

    async def _copy(self, product: Product) -> Replica:
        rows = product_replicas.table.c
        query = select(*(rows[name] for name in Replica.__slots__)).where(rows.product_id == product.product_id)
        async with self.engine.connect() as connection:
            return Replica(*(await connection.execute(query)).one())

    async def _look_at_dashboard(self, dice: random.Random) -> None:
        self.dashboards.append(await dashboard(self.engine, dice.choice(self.goods).seller_id))

    async def _update_price(self, dice: random.Random) -> None:
        """Update a price: one decision on one aggregate, and no saga."""
        product, price = dice.choice(self.goods), dice.randrange(500, 20_000, 5)
        await decide(self.store, products, product.product_id, partial(set_price, unit_price=price))

    async def _replace_product(self, dice: random.Random) -> None:
        """Replace a product: a saga, since stock follows it; one at a time for each product, by its id."""
        product = dice.choice(self.goods)
        request = ReplacementRequest(
            product_id=product.product_id,
            product_version=f"v{next(self._numbers)}-{self.seed}",
            unit_price=dice.randrange(500, 20_000, 5),
        )
        try:
            await self.client.execute_workflow(
                ProductReplacement.run, request, id=f"replace-{product.product_id}", task_queue="sagas"
            )
        except WorkflowAlreadyStartedError as other:
            raise Refused from other

    async def _update_delivery(self) -> None:
        """Deliver the packages of the oldest order, for each of ten sellers with packages on their way, by a saga."""
        due = await due_deliveries(self.engine)
        await asyncio.gather(*(self._deliver(order_id, seller_id) for order_id, seller_id in due))

    async def _deliver(self, order_id: str, seller_id: str) -> None:
        try:
            await self.client.execute_workflow(
                Delivery.run,
                DeliveryRequest(order_id=order_id, seller_id=seller_id),
                id=f"deliver-{order_id}-{seller_id}",
                task_queue="sagas",
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )
        except WorkflowAlreadyStartedError:
            # Delivered already, and the read model has not shown it yet.
            return


def _line(product: Replica, quantity: int) -> CartLine:
    return CartLine(
        seller_id=product.seller_id,
        product_id=product.product_id,
        product_version=product.product_version,
        product_name=product.name,
        unit_price=product.unit_price,
        freight=product.freight,
        quantity=quantity,
        voucher=product.freight,
    )

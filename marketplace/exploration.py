"""The marketplace's own checkout, with its real handlers, under every fault."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client

from activities import orders, payments, shipments, stock
from activities.payment_port import HttpPaymentProvider
from counteract import Participants, PostgresEventStore
from counteract.testing import Exploration, explore
from domain.checkout import CartLine, CheckoutRequest
from domain.payments import Card, Method, PaymentMethod
from domain.shipments import Address
from marketplace.catalogue import FIRST_VERSION, Product, catalogue, load
from marketplace.invariants import Facts, findings
from workflows.checkout import Checkout


async def explore_checkout(store: PostgresEventStore, client: Client, provider_url: str, **options: Any) -> Exploration:
    """Explore the checkout, on an empty store.

    Raises ExplorationFailed where a fault leaves a checkout, or in the end the market's books, in disorder.
    """
    goods = catalogue()
    await load(store, goods)

    def cart(run: str) -> CheckoutRequest:
        number = int(run.rpartition("-")[2])
        return one_of(goods.plain[number % len(goods.plain)], order_id=f"order-{number}")

    async def the_market_adds_up() -> None:
        wrong = [finding for finding in findings(await Facts.gathered(store, provider_url)) if not finding.holds]
        if wrong:
            raise AssertionError("; ".join(f"{each.invariant}: {each.figure}" for each in wrong))

    async with HttpPaymentProvider.open(provider_url) as provider:
        participants = Participants(store, orders, payments, shipments, stock, resources=[provider])
        return await explore(
            Checkout, cart, participants=participants, client=client, at_rest=the_market_adds_up, **options
        )


def one_of(product: Product, *, order_id: str) -> CheckoutRequest:
    """A request whose cart has one unit of this product."""
    line = CartLine(
        seller_id=product.seller_id,
        product_id=product.product_id,
        product_version=FIRST_VERSION,
        product_name=product.name,
        unit_price=product.unit_price,
        freight=product.freight,
        quantity=1,
    )
    card = Card(token="tok_fine", holder="A. Customer", last_four="4242", expires="12/30")  # noqa: S106 - a mood
    return CheckoutRequest(
        order_id=order_id,
        customer_id="customer-1",
        address=Address(name="A. Customer", street="1 Market Street", city="Rio", postal_code="20000", country="BR"),
        payment=PaymentMethod(method=Method.CREDIT_CARD, card=card),
        lines=(line,),
    )

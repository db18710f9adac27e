"""A log of orders, as many customers have placed them at once: what a rebuild of the order summary goes over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from uuid import UUID

from pydantic_core import from_json
from uuid_utils.compat import uuid7

from benchmarks.stores.workload import METADATA
from counteract import Event, StreamId
from counteract.store.boxes import Place
from counteract.store.postgres.connect import connect
from counteract.store.postgres.vault import Vault
from counteract.store.transfer.bulk_import import import_events
from domain.orders import OrderCompleted, OrderLine, OrderPlaced, totals_of
from domain.payments import Method, PaymentAuthorized, PaymentCaptured
from domain.shipments import Address, ShipmentCreated, packed

EVENTS_EACH = 5
_AT_ONCE = 1000
"""Orders that are under way together: their events take turns."""
_CUSTOMERS = 1000
_ADDRESS = Address(name="A. Customer", street="1 Market Street", city="Rio", postal_code="20000", country="BR")
_LINES = tuple(
    OrderLine(seller_id=f"seller-{number}", product_id=f"p-{number}", product_name="Lamp", unit_price=1999, quantity=1)
    for number in range(3)
)
_TOTALS = totals_of(_LINES)


async def fill(owner_url: str, events: int) -> None:
    """Addresses are sealed, with one key for each of a thousand customers."""
    vault = Vault(None)
    async with await connect(owner_url) as connection:
        for first in range(0, events // EVENTS_EACH, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, events // EVENTS_EACH))
            made = [(kind, f"order-{number}", event, uuid7()) for kind, number, event in _story(numbers)]
            texts = await vault.sealed(
                connection,
                [event for *_, event, _ in made],
                [Place(StreamId(kind, of), event_id, event.event_type) for kind, of, event, event_id in made],
                [event.model_dump_json() for *_, event, _ in made],
            )
            lines = [_line(*each, text) for each, text in zip(made, texts, strict=True)]
            await import_events(owner_url, lines)


def _story(numbers: Sequence[int]) -> Iterator[tuple[str, int, Event]]:
    for kind, of in _STEPS:
        for number in numbers:
            yield kind, number, of(number)


def _customer(number: int) -> str:
    return f"customer-{number % _CUSTOMERS}"


_STEPS = (
    (
        "order",
        lambda number: OrderPlaced(
            customer_id=_customer(number), number=1, invoice=f"invoice-{number}", lines=_LINES, totals=_TOTALS
        ),
    ),
    (
        "payment",
        lambda number: PaymentAuthorized(
            customer_id=_customer(number),
            amount=_TOTALS.invoice,
            method=Method.BOLETO,
            authorization=f"authorization-{number}",
        ),
    ),
    ("payment", lambda _: PaymentCaptured(amount=_TOTALS.invoice)),
    (
        "shipment",
        lambda number: ShipmentCreated(customer_id=_customer(number), address=_ADDRESS, packages=packed(_LINES)),
    ),
    ("order", lambda _: OrderCompleted()),
)


def _line(kind: str, aggregate_id: str, event: Event, event_id: UUID, text: str) -> bytes:
    fields = {
        "event_id": str(event_id),
        "aggregate_type": kind,
        "aggregate_id": aggregate_id,
        "event_type": event.event_type,
        "event_data": from_json(text),
        "metadata": METADATA,
    }
    return json.dumps(fields).encode() + b"\n"

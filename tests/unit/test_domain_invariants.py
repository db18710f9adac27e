"""The standing invariants: each holds for a marketplace in order, and notices what it is there for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from counteract import Event, StreamId
from counteract.lifecycle import SagaCompensated, SagaCompleted, SagaStarted, sagas
from counteract.store import StoredEvent
from domain.orders import OrderCancelled, OrderCompleted, OrderLine, OrderPlaced, orders, totals_of
from domain.payments import Method, PaymentAuthorized, PaymentCaptured, PaymentVoided, payments
from domain.stock import StockItemAdded, StockReleased, StockReserved, StockSold, stock_item
from marketplace.invariants import Facts, findings

pytestmark = pytest.mark.unit

SAGA = {"saga_type": "Checkout", "run_id": "r-1"}
LINE = OrderLine(seller_id="s-1", product_id="p-1", product_name="Lamp", unit_price=100, quantity=2)
PLACED = OrderPlaced(customer_id="ann", number=1, invoice="ann-20260309-1", lines=(LINE,), totals=totals_of([LINE]))
AUTHORIZED = PaymentAuthorized(customer_id="ann", amount=200, method=Method.BOLETO, authorization="a-1")


def stored(number: int, stream: StreamId, event: Event) -> StoredEvent:
    return StoredEvent.of(
        position=number,
        event_id=UUID(int=number),
        stream=stream,
        version=number,
        event_type=event.event_type,
        schema_version=event.schema_version,
        data=event.model_dump_json(),
        metadata={},
        recorded_at=datetime(2026, 3, 9, tzinfo=UTC),
    )


def facts(events: Sequence[tuple[StreamId, Event]], provider: Sequence[dict[str, Any]]) -> Facts:
    return Facts([stored(number, *each) for number, each in enumerate(events, start=1)], provider)


def paid(key: str = "a-1", state: str = "captured", amount: int = 200) -> dict[str, Any]:
    return {"key": key, "state": state, "amount": amount, "captures": ["c-1"] if state == "captured" else []}


STOCK, ORDER, PAYMENT = stock_item.stream("p-1"), orders.stream("o-1"), payments.stream("o-1")
OTHER_ORDER, OTHER_PAYMENT = orders.stream("o-2"), payments.stream("o-2")
SAGA_STREAM = sagas.stream("checkout-o-1")

COMPLETED: list[tuple[StreamId, Event]] = [
    (STOCK, StockItemAdded(seller_id="s-1", product_version="v1", quantity=5)),
    (SAGA_STREAM, SagaStarted(**SAGA)),
    (STOCK, StockReserved(order_id="o-1", quantity=2)),
    (ORDER, PLACED),
    (PAYMENT, AUTHORIZED),
    (PAYMENT, PaymentCaptured(amount=200)),
    (STOCK, StockSold(order_id="o-1")),
    (ORDER, OrderCompleted()),
    (SAGA_STREAM, SagaCompleted(**SAGA, steps=())),
]
IN_ORDER = facts(COMPLETED, [paid()])


def broken(facts: Facts) -> set[str]:
    return {finding.invariant for finding in findings(facts) if not finding.holds}


def and_then(*more: tuple[StreamId, Event]) -> Facts:
    return facts([*COMPLETED, *more], [paid()])


def without(kind: type[Event]) -> Facts:
    return facts([each for each in COMPLETED if not isinstance(each[1], kind)], [paid()])


def test_all_hold_after_a_completed_checkout() -> None:
    assert broken(IN_ORDER) == set()


def test_all_hold_after_a_compensated_one_whose_authorisation_was_never_answered() -> None:
    undone: list[tuple[StreamId, Event]] = [
        (SAGA_STREAM, SagaStarted(**SAGA)),
        (STOCK, StockItemAdded(seller_id="s-1", product_version="v1", quantity=5)),
        (STOCK, StockReserved(order_id="o-1", quantity=2)),
        (ORDER, PLACED),
        (ORDER, OrderCancelled()),
        (STOCK, StockReleased(order_id="o-1")),
        (SAGA_STREAM, SagaCompensated(**SAGA, cause="no answer", undone=(), skipped=())),
    ]
    assert broken(facts(undone, [paid(state="voided")])) == set()


UNITS = "initial units = available + reserved + sold"
RESERVED = "no units are reserved when no saga runs"
ENDS_ONCE = "each authorised payment is captured or voided, once"
INVOICED = "captured total = invoices of completed orders"
OPEN = "each order is completed or cancelled when no saga runs"
BOOKS = "our payments agree with the provider's books"
TERMINAL = "each saga has exactly one terminal event"
PRODUCTS = "no order line is for a product that never existed"


@pytest.mark.parametrize(
    ("wrong", "noticed_by"),
    [
        (lambda: and_then((STOCK, StockReserved(order_id="o-2", quantity=4))), {UNITS, RESERVED}),
        (lambda: without(StockSold), {RESERVED}),
        (lambda: without(OrderCompleted), {OPEN, INVOICED}),
        (lambda: without(SagaCompleted), {TERMINAL}),
        (lambda: and_then((SAGA_STREAM, SagaCompensated(**SAGA, cause="", undone=(), skipped=()))), {TERMINAL}),
        (lambda: without(StockItemAdded), {PRODUCTS, UNITS}),
        (lambda: replace(IN_ORDER, provider=[paid(state="authorized")]), {ENDS_ONCE, INVOICED, BOOKS}),
        (lambda: replace(IN_ORDER, provider=[paid(amount=199)]), {INVOICED}),
        (lambda: replace(IN_ORDER, provider=[paid() | {"captures": ["c-1", "c-2"]}]), {ENDS_ONCE}),
        (lambda: replace(IN_ORDER, provider=[paid(), paid("a-2", amount=0)]), {BOOKS}),
        (lambda: replace(IN_ORDER, provider=[paid(key="a-2")]), {BOOKS}),
        (lambda: replace(IN_ORDER, provider=[]), {INVOICED, BOOKS}),
        (lambda: and_then((PAYMENT, PaymentVoided())), {BOOKS, INVOICED}),
    ],
    ids=[
        "more units promised than there are",
        "units left reserved",
        "order left open",
        "saga without an end",
        "saga with two ends",
        "product that never existed",
        "authorisation left held",
        "less captured than invoiced",
        "captured twice",
        "a capture that we know nothing of",
        "another authorisation captured than ours",
        "nothing captured at all",
        "voided by us and captured by the provider",
    ],
)
def test_what_is_wrong_is_noticed(wrong: Callable[[], Facts], noticed_by: set[str]) -> None:
    assert broken(wrong()) == noticed_by


def test_two_errors_that_cancel_each_other_out_in_the_total_are_noticed() -> None:
    other = PLACED.model_copy(update={"totals": totals_of([LINE.model_copy(update={"quantity": 1})])})
    swapped = [
        (ORDER, PLACED),
        (ORDER, OrderCompleted()),
        (PAYMENT, AUTHORIZED.model_copy(update={"amount": 100})),
        (PAYMENT, PaymentCaptured(amount=100)),
        (OTHER_ORDER, other),
        (OTHER_ORDER, OrderCompleted()),
        (OTHER_PAYMENT, AUTHORIZED.model_copy(update={"authorization": "a-2"})),
        (OTHER_PAYMENT, PaymentCaptured(amount=200)),
    ]
    assert INVOICED in broken(facts(swapped, [paid(amount=100), paid("a-2")]))

"""Numbers, invoices and totals of orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from counteract import Rejected
from domain import orders
from domain.orders import (
    Order,
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    OrderLine,
    OrderNumbered,
    OrderPlaced,
    PlaceOrder,
    order_numbers,
    totals_of,
)

pytestmark = pytest.mark.unit


def line(
    *, product: str = "p-1", unit_price: int = 1000, freight: int = 50, quantity: int = 2, voucher: int = 0
) -> OrderLine:
    return OrderLine(
        seller_id="s-1",
        product_id=product,
        product_name="Lamp",
        unit_price=unit_price,
        freight=freight,
        quantity=quantity,
        voucher=voucher,
    )


COMMAND = PlaceOrder(order_id="o-1", customer_id="ann", placed_on=date(2026, 3, 9), lines=(line(),))


def given_(*events: OrderEvent) -> Order:
    return orders.orders.fold(events)


def placed(number: int = 1) -> OrderPlaced:
    (event,) = orders.place(Order(), COMMAND, number)
    assert isinstance(event, OrderPlaced)
    return event


def test_an_invoice_is_named_after_customer_date_and_number() -> None:
    assert placed(number=7).invoice == "ann-20260309-7"


def test_numbers_are_counted_per_customer() -> None:
    assert order_numbers.fold([OrderNumbered(order_id="o-1"), OrderNumbered(order_id="o-2")]) == 2


def test_an_invoice_is_items_and_freight_less_discounts() -> None:
    totals = placed().totals.model_dump()
    assert totals == {"items": 2000, "freight": 50, "discounts": 0, "invoice": 2050}


@pytest.mark.parametrize(
    ("voucher", "invoice"), [(300, 1750), (2000, 50), (5000, 50)], ids=["part of it", "all of it", "more than it"]
)
def test_a_voucher_takes_a_line_down_to_its_freight_and_no_further(voucher: int, invoice: int) -> None:
    assert totals_of([line(voucher=voucher)]).invoice == invoice


def test_what_a_voucher_leaves_over_is_not_taken_off_other_lines() -> None:
    assert totals_of([line(voucher=5000), line(product="p-2")]).discounts == 2000


LINES = st.lists(
    st.builds(
        line,
        unit_price=st.integers(1, 10**12),
        freight=st.integers(0, 10**12),
        quantity=st.integers(1, 10),
        voucher=st.integers(0, 10**12),
    ),
    min_size=1,
    max_size=10,
)


@pytest.mark.property
@given(LINES)
def test_an_invoice_is_never_below_the_freight_nor_beyond_a_bigint(lines: Sequence[OrderLine]) -> None:
    totals = totals_of(lines)
    assert totals.freight <= totals.invoice == totals.items + totals.freight - totals.discounts < 2**63


def test_one_order_id_is_one_order() -> None:
    with pytest.raises(Rejected, match="order placed before"):
        orders.place(given_(placed()), COMMAND, number=2)


def test_a_cancelled_order_is_not_placed_again() -> None:
    with pytest.raises(Rejected, match="order placed before"):
        orders.place(given_(placed(), OrderCancelled()), COMMAND, number=2)


def test_an_open_order_is_cancelled() -> None:
    assert orders.cancel(given_(placed())) == [OrderCancelled()]


@pytest.mark.parametrize("events", [[], [placed(), OrderCancelled()]], ids=["never placed", "cancelled before"])
def test_there_is_nothing_to_cancel_of_what_is_not_open(events: Sequence[OrderEvent]) -> None:
    assert orders.cancel(given_(*events)) == []


def test_an_order_is_completed_once() -> None:
    assert orders.complete(given_(placed())) == [OrderCompleted()]
    assert orders.complete(given_(placed(), OrderCompleted())) == []


@pytest.mark.parametrize("events", [[], [placed(), OrderCancelled()]], ids=["never placed", "cancelled"])
def test_what_is_not_open_cannot_be_completed(events: Sequence[OrderEvent]) -> None:
    with pytest.raises(Rejected, match="order is not open"):
        orders.complete(given_(*events))


@pytest.mark.parametrize(
    "changed",
    [
        {"quantity": 0},
        {"quantity": 11},
        {"unit_price": 0},
        {"voucher": -1},
        {"freight": -1},
        {"unit_price": 10**13},
        {"product_name": "a\x00b"},
        {"product_id": "p 1"},
        {"quantity": 1.5},
        {"vouchers": 1},
    ],
    ids=str,
)
def test_a_line_that_makes_no_sense_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OrderLine.model_validate(line().model_dump() | changed)

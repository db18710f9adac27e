"""Units of a product: given these events, when this is decided, then these events follow."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counteract import Rejected
from domain import stock
from domain.stock import (
    ProductDeleted,
    ProductReplaced,
    ReserveStock,
    StockEvent,
    StockItem,
    StockItemAdded,
    StockReleased,
    StockReserved,
    StockSold,
    stock_item,
)

pytestmark = pytest.mark.unit

ADDED = StockItemAdded(seller_id="s-1", product_version="v1", quantity=5)
HELD = StockReserved(order_id="o-1", quantity=2)


def given_(*events: StockEvent) -> StockItem:
    return stock_item.fold(events)


def reservation(*, order: str = "o-1", quantity: int = 2, version: str = "v1") -> ReserveStock:
    return ReserveStock(product_id="p-1", product_version=version, order_id=order, quantity=quantity)


def test_units_that_are_there_are_reserved() -> None:
    assert stock.reserve(given_(ADDED), reservation()) == [HELD]


def test_the_last_unit_can_be_reserved() -> None:
    assert stock.reserve(given_(ADDED, HELD), reservation(order="o-2", quantity=3))


def test_more_than_what_others_have_left_is_refused_with_what_is_left() -> None:
    with pytest.raises(Rejected) as refusal:
        stock.reserve(given_(ADDED, HELD), reservation(order="o-2", quantity=4))
    assert (refusal.value.reason, refusal.value.data) == ("out of stock", {"product": "p-1", "available": 3})


def test_a_cart_with_a_replaced_product_is_refused_with_the_version_of_now() -> None:
    with pytest.raises(Rejected, match="product replaced") as refusal:
        stock.reserve(given_(ADDED, ProductReplaced(product_version="v2")), reservation())
    assert refusal.value.data["version"] == "v2"


def test_a_cart_with_the_new_version_is_served_from_the_same_units() -> None:
    assert stock.reserve(given_(ADDED, ProductReplaced(product_version="v2")), reservation(version="v2")) == [HELD]


@pytest.mark.parametrize("events", [[ADDED, ProductDeleted()], []], ids=["deleted", "never offered"])
def test_what_is_not_offered_cannot_be_reserved(events: Sequence[StockEvent]) -> None:
    with pytest.raises(Rejected, match="product not for sale"):
        stock.reserve(given_(*events), reservation())


@pytest.mark.parametrize("after", [[], [StockSold(order_id="o-1")]], ids=["held", "sold"])
def test_a_second_checkout_under_one_order_id_does_not_get_into_the_first_ones_reservation(
    after: Sequence[StockEvent],
) -> None:
    with pytest.raises(Rejected, match="reserved before for this order"):
        stock.reserve(given_(ADDED, HELD, *after), reservation())


def test_released_units_are_for_everybody_again() -> None:
    item = given_(ADDED, HELD, *stock.release(given_(ADDED, HELD), "o-1"))
    assert (item.available, item.reserved) == (5, 0)


@pytest.mark.parametrize(
    "events",
    [[ADDED], [ADDED, HELD, StockReleased(order_id="o-1")], [ADDED, HELD, StockSold(order_id="o-1")], []],
    ids=["never reserved", "released", "sold", "never offered"],
)
def test_there_is_nothing_to_release_of_what_is_not_held(events: Sequence[StockEvent]) -> None:
    assert stock.release(given_(*events), "o-1") == []


def test_held_units_are_sold_once() -> None:
    sold = stock.confirm(given_(ADDED, HELD), "o-1")
    assert sold == [StockSold(order_id="o-1")]
    assert stock.confirm(given_(ADDED, HELD, *sold), "o-1") == []


def test_units_are_sold_even_if_the_product_was_deleted_since_they_were_reserved() -> None:
    assert stock.confirm(given_(ADDED, HELD, ProductDeleted()), "o-1") == [StockSold(order_id="o-1")]


def test_units_that_nobody_reserved_cannot_be_sold() -> None:
    with pytest.raises(Rejected, match="nothing is held"):
        stock.confirm(given_(ADDED), "o-1")


ORDERS = st.sampled_from(["o-1", "o-2", "o-3"])
EVENTS = st.one_of(
    st.builds(StockItemAdded, seller_id=st.just("s-1"), product_version=st.just("v1"), quantity=st.integers(1, 9)),
    st.builds(ProductReplaced, product_version=st.just("v2")),
    st.builds(ProductDeleted),
    st.builds(StockReserved, order_id=ORDERS, quantity=st.integers(1, 9)),
    st.builds(StockReleased, order_id=ORDERS),
    st.builds(StockSold, order_id=ORDERS),
)


@pytest.mark.property
@given(st.lists(EVENTS))
def test_whatever_the_events_no_unit_appears_or_gets_lost(events: Sequence[StockEvent]) -> None:
    item = given_(*events)
    assert item.initial == item.available + item.reserved + sum(item.sold.values())


DECISIONS = st.lists(st.tuples(st.sampled_from(["reserve", "release", "confirm"]), ORDERS, st.integers(1, 6)))


@pytest.mark.property
@given(DECISIONS)
def test_whatever_is_asked_for_no_more_is_promised_than_there_is(decisions: Sequence[tuple[str, str, int]]) -> None:
    item = given_(ADDED)
    for what, order, quantity in decisions:
        item = stock_item.fold(decided(item, what, order, quantity), item)
        assert item.available >= 0
        assert item.initial == 5


def decided(item: StockItem, what: str, order: str, quantity: int) -> list[StockEvent]:
    try:
        match what:
            case "reserve":
                return stock.reserve(item, reservation(order=order, quantity=quantity))
            case "release":
                return stock.release(item, order)
            case _:
                return stock.confirm(item, order)
    except Rejected:
        return []

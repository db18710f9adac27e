"""Packages."""

from __future__ import annotations

import pytest

from counteract import Rejected
from domain import shipments
from domain.orders import OrderLine
from domain.shipments import (
    Address,
    CreateShipment,
    DeliverPackages,
    PackagesDelivered,
    Shipment,
    ShipmentConcluded,
    ShipmentCreated,
)

pytestmark = pytest.mark.unit

ADDRESS = Address(name="Ann Lee", street="1 Market Street", city="Rio", postal_code="20000", country="BR")


def line(product: str, seller: str) -> OrderLine:
    return OrderLine(seller_id=seller, product_id=product, product_name="Lamp", unit_price=1000, quantity=2)


COMMAND = CreateShipment(
    order_id="o-1",
    customer_id="ann",
    address=ADDRESS,
    lines=(line("p-1", "s-2"), line("p-2", "s-1"), line("p-3", "s-2")),
)


def test_each_line_is_a_package_and_those_of_a_seller_stand_together() -> None:
    (created,) = shipments.create(Shipment(), COMMAND)
    assert isinstance(created, ShipmentCreated)
    packages = [(each.number, each.seller_id, each.product_id) for each in created.packages]
    assert packages == [(1, "s-1", "p-2"), (2, "s-2", "p-1"), (3, "s-2", "p-3")]


def test_a_shipment_is_created_once() -> None:
    created = shipments.create(Shipment(), COMMAND)
    assert shipments.create(shipments.shipments.fold(created), COMMAND) == []


def test_a_command_shown_in_a_log_says_nothing_of_who_lives_where() -> None:
    shown = f"{COMMAND!r} {COMMAND}"
    assert not any(part in shown for part in ("Ann", "Market", "Rio", "20000"))


def test_the_packages_of_one_seller_arrive_together_and_the_last_ones_conclude_the_shipment() -> None:
    sent = shipments.shipments.fold(shipments.create(Shipment(), COMMAND))
    first = shipments.deliver(sent, DeliverPackages(order_id="o-1", seller_id="s-2"))
    assert [type(each) for each in first] == [PackagesDelivered]
    half = shipments.shipments.fold(first, sent)
    assert shipments.deliver(half, DeliverPackages(order_id="o-1", seller_id="s-2")) == []
    last = shipments.deliver(half, DeliverPackages(order_id="o-1", seller_id="s-1"))
    assert [type(each) for each in last] == [PackagesDelivered, ShipmentConcluded]
    assert shipments.shipments.fold(last, half).on_the_way == ()


def test_what_was_never_sent_does_not_arrive() -> None:
    with pytest.raises(Rejected, match="nothing was sent"):
        shipments.deliver(Shipment(), DeliverPackages(order_id="o-1", seller_id="s-1"))

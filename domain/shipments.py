"""Shipments: one package per line, grouped by seller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, assert_never

from pydantic import BaseModel, Field, PositiveInt

from counteract import Decider, Event, Forgotten, Personal, Pivot, Rejected, Retriable
from domain.orders import OrderLine
from domain.values import CustomerId, OrderId, ProductId, SellerId, Text, Value


class Address(Value):
    """Where an order goes."""

    name: Text = Field(repr=False)
    street: Text = Field(repr=False)
    city: Text = Field(repr=False)
    postal_code: Text = Field(repr=False)
    country: str = Field(pattern=r"^[A-Z]{2}$")


class Package(Value):
    """One line of an order on its way. `number` counts from 1 within the order."""

    number: PositiveInt
    seller_id: SellerId
    product_id: ProductId
    quantity: PositiveInt


class ShipmentCreated(Event):
    """An order's packages were handed over."""

    customer_id: CustomerId
    address: Annotated[Address | Forgotten, Personal("customer_id")]
    packages: tuple[Package, ...]


class PackagesDelivered(Event):
    """What a seller had to send for an order has arrived."""

    packages: tuple[Package, ...]


class ShipmentConcluded(Event):
    """Every package has arrived."""


ShipmentEvent = ShipmentCreated | PackagesDelivered | ShipmentConcluded


class ShipmentPlan(BaseModel):
    """How many packages an order makes."""

    packages: int


class CreateShipment(Retriable[ShipmentPlan], service="shipments"):
    """Pack and hand over an order."""

    order_id: OrderId
    customer_id: CustomerId
    address: Address
    lines: tuple[OrderLine, ...] = Field(min_length=1)


class DeliveryRequest(Value):
    """Input of the saga."""

    order_id: OrderId
    seller_id: SellerId


class Delivered(BaseModel):
    """How many packages have arrived that had not, and whether those were the last of the order."""

    packages: int
    is_concluded: bool


class DeliverPackages(Pivot[Delivered], service="shipments"):
    """What one seller sent for an order has arrived, and nothing undoes that."""

    order_id: OrderId
    seller_id: SellerId


@dataclass(frozen=True, slots=True)
class Shipment:
    """One order's packages."""

    packages: tuple[Package, ...] = ()
    on_the_way: tuple[Package, ...] = ()


def packed(lines: Sequence[OrderLine]) -> tuple[Package, ...]:
    """One package per line, those of one seller next to each other."""
    return tuple(
        Package(number=number, seller_id=line.seller_id, product_id=line.product_id, quantity=line.quantity)
        for number, line in enumerate(sorted(lines, key=_seller), start=1)
    )


def create(shipment: Shipment, command: CreateShipment) -> list[ShipmentEvent]:
    if shipment.packages:
        return []
    return [ShipmentCreated(customer_id=command.customer_id, address=command.address, packages=packed(command.lines))]


def deliver(shipment: Shipment, command: DeliverPackages) -> list[ShipmentEvent]:
    if not shipment.packages:
        raise Rejected("nothing was sent", order=command.order_id)
    arrived = tuple(each for each in shipment.on_the_way if each.seller_id == command.seller_id)
    if not arrived:
        return []
    concluded = [ShipmentConcluded()] if len(arrived) == len(shipment.on_the_way) else []
    return [PackagesDelivered(packages=arrived), *concluded]


def evolve(shipment: Shipment, event: ShipmentEvent) -> Shipment:
    match event:
        case ShipmentCreated():
            return Shipment(event.packages, event.packages)
        case PackagesDelivered():
            left = tuple(each for each in shipment.on_the_way if each not in event.packages)
            return replace(shipment, on_the_way=left)
        case ShipmentConcluded():
            return shipment
        case _:
            assert_never(event)


def _seller(line: OrderLine) -> str:
    return line.seller_id


shipments = Decider("shipment", initial=Shipment(), evolve=evolve, events=ShipmentEvent)

"""Shipments: one package per line, grouped by seller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, PositiveInt

from counteract import Decider, Event, Forgotten, Personal, Retriable
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


class ShipmentPlan(BaseModel):
    """How many packages an order makes."""

    packages: int


class CreateShipment(Retriable[ShipmentPlan], service="shipments"):
    """Pack and hand over an order."""

    order_id: OrderId
    customer_id: CustomerId
    address: Address
    lines: tuple[OrderLine, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Shipment:
    """One order's packages."""

    packages: tuple[Package, ...] = ()


def packed(lines: Sequence[OrderLine]) -> tuple[Package, ...]:
    """One package per line, those of one seller next to each other."""
    return tuple(
        Package(number=number, seller_id=line.seller_id, product_id=line.product_id, quantity=line.quantity)
        for number, line in enumerate(sorted(lines, key=_seller), start=1)
    )


def create(shipment: Shipment, command: CreateShipment) -> list[ShipmentCreated]:
    if shipment.packages:
        return []
    return [ShipmentCreated(customer_id=command.customer_id, address=command.address, packages=packed(command.lines))]


def evolve(shipment: Shipment, event: ShipmentCreated) -> Shipment:
    return Shipment(event.packages)


def _seller(line: OrderLine) -> str:
    return line.seller_id


shipments = Decider("shipment", initial=Shipment(), evolve=evolve, events=ShipmentCreated)

"""Orders: numbers, invoices and totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import assert_never

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt

from counteract import Compensatable, Decider, Event, Rejected, Retriable
from domain.values import CustomerId, Money, OrderId, Price, ProductId, SellerId, Text, Value


class OrderLine(Value):
    """One product of an order."""

    seller_id: SellerId
    product_id: ProductId
    product_name: Text
    unit_price: Price
    freight: Money = 0
    quantity: PositiveInt = Field(le=10)
    voucher: Money = 0

    @property
    def items(self) -> int:
        return self.unit_price * self.quantity

    @property
    def discount(self) -> int:
        """A voucher never takes a line below zero."""
        return min(self.voucher, self.items)


class Totals(Value):
    """In minor units. `invoice` = `items` + `freight` - `discounts`."""

    items: NonNegativeInt
    freight: NonNegativeInt
    discounts: NonNegativeInt
    invoice: NonNegativeInt


def totals_of(lines: Sequence[OrderLine]) -> Totals:
    items = sum(line.items for line in lines)
    freight = sum(line.freight for line in lines)
    discounts = sum(line.discount for line in lines)
    return Totals(items=items, freight=freight, discounts=discounts, invoice=items + freight - discounts)


class OrderPlaced(Event):
    """An order has its number, its invoice and its totals."""

    customer_id: CustomerId
    number: PositiveInt
    invoice: str
    lines: tuple[OrderLine, ...]
    totals: Totals


class OrderCancelled(Event):
    """It will not be fulfilled."""


class OrderCompleted(Event):
    """It was paid and is on its way."""


class OrderDelivered(Event):
    """All of its packages have arrived."""


class OrderNumbered(Event):
    """One more order of a customer, in the stream of the customer's numbers."""

    order_id: OrderId


OrderEvent = OrderPlaced | OrderCancelled | OrderCompleted | OrderDelivered


class PlacedOrder(BaseModel):
    """What an order was given."""

    number: int
    invoice: str
    totals: Totals


class PlaceOrder(Compensatable[PlacedOrder], service="orders", compensation="CancelOrder"):
    """Give an order its number, its invoice and its totals."""

    order_id: OrderId
    customer_id: CustomerId
    placed_on: date
    lines: tuple[OrderLine, ...] = Field(min_length=1, max_length=10)


class CompleteOrder(Retriable[None], service="orders"):
    """Close an order that was paid and is on its way."""

    order_id: OrderId


class DeliverOrder(Retriable[None], service="orders"):
    """All packages of an order have arrived."""

    order_id: OrderId


class OrderStatus(StrEnum):
    UNKNOWN = "unknown"
    PLACED = "placed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Order:
    """One order, as far as it has come."""

    status: OrderStatus = OrderStatus.UNKNOWN
    number: int = 0
    invoice: str = ""
    totals: Totals | None = None


def place(order: Order, command: PlaceOrder, number: int) -> list[OrderEvent]:
    """`number` is the customer's next one; `<customer>-<yyyymmdd>-<number>` is the invoice's."""
    if order.status is not OrderStatus.UNKNOWN:
        raise Rejected("order placed before", order=command.order_id)
    invoice = f"{command.customer_id}-{command.placed_on:%Y%m%d}-{number}"
    totals = totals_of(command.lines)
    return [
        OrderPlaced(customer_id=command.customer_id, number=number, invoice=invoice, lines=command.lines, totals=totals)
    ]


def cancel(order: Order) -> list[OrderEvent]:
    return [OrderCancelled()] if order.status is OrderStatus.PLACED else []


def complete(order: Order) -> list[OrderEvent]:
    match order.status:
        case OrderStatus.COMPLETED | OrderStatus.DELIVERED:
            return []
        case OrderStatus.PLACED:
            return [OrderCompleted()]
        case _:
            raise Rejected("order is not open", status=order.status)


def deliver(order: Order) -> list[OrderEvent]:
    """Its last package may arrive before its checkout has closed it."""
    match order.status:
        case OrderStatus.DELIVERED:
            return []
        case OrderStatus.PLACED:
            return [OrderCompleted(), OrderDelivered()]
        case OrderStatus.COMPLETED:
            return [OrderDelivered()]
        case _:
            raise Rejected("order was never sent", status=order.status)


def evolve(order: Order, event: OrderEvent) -> Order:
    match event:
        case OrderPlaced():
            return Order(OrderStatus.PLACED, event.number, event.invoice, event.totals)
        case OrderCancelled():
            return replace(order, status=OrderStatus.CANCELLED)
        case OrderCompleted():
            return replace(order, status=OrderStatus.COMPLETED)
        case OrderDelivered():
            return replace(order, status=OrderStatus.DELIVERED)
        case _:
            assert_never(event)


def count(orders: int, event: OrderNumbered) -> int:
    return orders + 1


orders = Decider("order", initial=Order(), evolve=evolve, events=OrderEvent)
order_numbers = Decider("customer-orders", initial=0, evolve=count, events=OrderNumbered)
"""One stream per customer: numbers without a counter that all customers share."""

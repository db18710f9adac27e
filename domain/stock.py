"""Stock: units of one product, reserved for orders until they are sold or released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from pydantic import BaseModel, PositiveInt

from counteract import Compensatable, Decider, Event, Rejected, Retriable
from domain.values import Identifier, OrderId, ProductId, SellerId


class StockItemAdded(Event):
    """A product is offered, with its first units."""

    seller_id: SellerId
    product_version: Identifier
    quantity: PositiveInt


class ProductReplaced(Event):
    """The product has a new version; carts that hold the old one are out of date."""

    product_version: Identifier


class ProductDeleted(Event):
    """The product is no longer offered."""


class StockReserved(Event):
    """Units are held for an order."""

    order_id: OrderId
    quantity: PositiveInt


class StockReleased(Event):
    """What was held for an order is available again."""

    order_id: OrderId


class StockSold(Event):
    """What was held for an order is gone."""

    order_id: OrderId


StockEvent = StockItemAdded | ProductReplaced | ProductDeleted | StockReserved | StockReleased | StockSold


class StockReservation(BaseModel):
    """What a reservation holds."""

    quantity: int


class ReserveStock(Compensatable[StockReservation], service="stock", compensation="ReleaseStock"):
    """Hold units of one product for one order."""

    product_id: ProductId
    product_version: Identifier
    order_id: OrderId
    quantity: PositiveInt

    def summary(self) -> str:
        return f"{self.quantity} of {self.product_id}"


class ConfirmStock(Retriable[None], service="stock"):
    """Turn held units into sold ones."""

    product_id: ProductId
    order_id: OrderId

    def summary(self) -> str:
        return self.product_id


class RenewStockItem(Retriable[None], service="stock"):
    """Follow a product to its new version."""

    product_id: ProductId
    product_version: Identifier


@dataclass(frozen=True, slots=True)
class StockItem:
    """One product's units: `initial` = `available` + held + `sold`."""

    version: str | None = None
    """None: not offered."""
    initial: int = 0
    available: int = 0
    held: Mapping[str, int] = field(default_factory=dict)
    sold: Mapping[str, int] = field(default_factory=dict)

    @property
    def reserved(self) -> int:
        return sum(self.held.values())


def reserve(item: StockItem, command: ReserveStock) -> list[StockEvent]:
    if command.order_id in item.held or command.order_id in item.sold:
        # A second checkout under one order id: were it let in, its undo would release what the first one holds.
        raise Rejected("reserved before for this order", product=command.product_id, order=command.order_id)
    if item.version is None:
        raise Rejected("product not for sale", product=command.product_id)
    if command.product_version != item.version:
        raise Rejected("product replaced", product=command.product_id, version=item.version)
    if command.quantity > item.available:
        raise Rejected("out of stock", product=command.product_id, available=item.available)
    return [StockReserved(order_id=command.order_id, quantity=command.quantity)]


def release(item: StockItem, order_id: str) -> list[StockEvent]:
    return [StockReleased(order_id=order_id)] if order_id in item.held else []


def confirm(item: StockItem, order_id: str) -> list[StockEvent]:
    if order_id in item.sold:
        return []
    if order_id not in item.held:
        raise Rejected("nothing is held for this order", order=order_id)
    return [StockSold(order_id=order_id)]


def renew(item: StockItem, product_version: str) -> list[StockEvent]:
    return [] if item.version in (None, product_version) else [ProductReplaced(product_version=product_version)]


def evolve(item: StockItem, event: StockEvent) -> StockItem:
    match event:
        case StockItemAdded():
            initial, available = item.initial + event.quantity, item.available + event.quantity
            return replace(item, version=event.product_version, initial=initial, available=available)
        case ProductReplaced():
            return replace(item, version=event.product_version)
        case ProductDeleted():
            return replace(item, version=None)
        case StockReserved():
            held = _with(item.held, event.order_id, event.quantity)
            return replace(item, held=held, available=item.available - event.quantity)
        case StockReleased():
            released = item.held.get(event.order_id, 0)
            return replace(item, held=_without(item.held, event.order_id), available=item.available + released)
        case StockSold():
            sold = _with(item.sold, event.order_id, item.held.get(event.order_id, 0))
            return replace(item, held=_without(item.held, event.order_id), sold=sold)
        case _:
            assert_never(event)


def _with(units: Mapping[str, int], order_id: str, more: int) -> dict[str, int]:
    return {**units, order_id: units.get(order_id, 0) + more}


def _without(units: Mapping[str, int], order_id: str) -> dict[str, int]:
    return {other: quantity for other, quantity in units.items() if other != order_id}


stock_item = Decider("stock-item", initial=StockItem(), evolve=evolve, events=StockEvent)

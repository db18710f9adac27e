"""Products: what a seller offers, at which price, and in which version."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from pydantic import BaseModel

from counteract import Decider, Event, Pivot, Rejected
from domain.values import Identifier, Money, Price, ProductId, SellerId, Text, Value


class ProductListed(Event):
    """A seller offers a product."""

    seller_id: SellerId
    name: Text
    product_version: Identifier
    unit_price: Price
    freight: Money


class PriceUpdated(Event):
    """It costs something else from now on. Its version stays, and so do the carts that hold it."""

    unit_price: Price


class VersionListed(Event):
    """The product itself is another: carts that hold an earlier version are out of date."""

    product_version: Identifier
    unit_price: Price


ProductEvent = ProductListed | PriceUpdated | VersionListed


class ReplacementRequest(Value):
    """Input of the saga."""

    product_id: ProductId
    product_version: Identifier
    unit_price: Price


class Replacement(BaseModel):
    """The version that is offered."""

    product_version: str


class ReplaceProduct(Pivot[Replacement], service="products"):
    """Offer another version of a product: from then on it is what customers see."""

    product_id: ProductId
    product_version: Identifier
    unit_price: Price


@dataclass(frozen=True, slots=True)
class Product:
    """One product, as its seller offers it."""

    version: str | None = None
    unit_price: int = 0
    earlier: frozenset[str] = frozenset()
    """Versions that were offered before, and never will be again."""


def set_price(product: Product, unit_price: int) -> list[ProductEvent]:
    if product.version is None:
        raise Rejected("product not for sale")
    return [] if unit_price == product.unit_price else [PriceUpdated(unit_price=unit_price)]


def replace_with(product: Product, command: ReplaceProduct) -> list[ProductEvent]:
    if product.version is None:
        raise Rejected("product not for sale", product=command.product_id)
    if command.product_version in product.earlier:
        raise Rejected("version offered before", product=command.product_id, version=command.product_version)
    if command.product_version == product.version:
        return []
    return [VersionListed(product_version=command.product_version, unit_price=command.unit_price)]


def evolve(product: Product, event: ProductEvent) -> Product:
    match event:
        case ProductListed():
            return Product(event.product_version, event.unit_price)
        case PriceUpdated():
            return replace(product, unit_price=event.unit_price)
        case VersionListed():
            earlier = product.earlier | {product.version or ""}
            return Product(event.product_version, event.unit_price, earlier)
        case _:
            assert_never(event)


products = Decider("product", initial=Product(), evolve=evolve, events=ProductEvent)

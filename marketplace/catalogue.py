"""The products for sale: the same sellers and products every time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from counteract import NO_STREAM, STREAM_EXISTS, PostgresEventStore
from domain.products import ProductListed, VersionListed, products
from domain.stock import ProductReplaced, StockItemAdded, stock_item

SELLERS = 6
PRODUCTS_EACH = 10
FIRST_VERSION = "v1"
NEXT_VERSION = "v2"

_GOODS = ("Lamp", "Chair", "Kettle", "Rug", "Clock", "Shelf", "Mirror", "Vase", "Stool", "Basket")


@dataclass(frozen=True, slots=True)
class Product:
    """One product, as a customer sees it. Prices in minor units."""

    product_id: str
    seller_id: str
    name: str
    unit_price: int
    freight: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """60 products of 6 sellers, two kinds of which are trouble."""

    plain: Sequence[Product]
    replaced: Sequence[Product]
    """The products of which carts hold version v1, while the sellers have moved on to v2."""
    scarce: Sequence[Product]
    """The products of which there are fewer units than anybody asks for."""

    @property
    def products(self) -> list[Product]:
        return [*self.plain, *self.replaced, *self.scarce]


def catalogue() -> Catalogue:
    """The catalogue, the same every time."""
    products = list(_products(random.Random(7)))  # noqa: S311 - no secret
    return Catalogue(products[4:], products[2:4], [replace(each, quantity=3) for each in products[:2]])


async def load(store: PostgresEventStore, catalogue: Catalogue) -> None:
    """Offer every product, with its units; then replace those that were replaced since."""
    for product in catalogue.products:
        listed = ProductListed(
            seller_id=product.seller_id,
            name=product.name,
            product_version=FIRST_VERSION,
            unit_price=product.unit_price,
            freight=product.freight,
        )
        await store.append(products.stream(product.product_id), [listed], expect=NO_STREAM)
        added = StockItemAdded(seller_id=product.seller_id, product_version=FIRST_VERSION, quantity=product.quantity)
        await store.append(stock_item.stream(product.product_id), [added], expect=NO_STREAM)
    for product in catalogue.replaced:
        renewed = VersionListed(product_version=NEXT_VERSION, unit_price=product.unit_price)
        await store.append(products.stream(product.product_id), [renewed], expect=STREAM_EXISTS)
        replaced = ProductReplaced(product_version=NEXT_VERSION)
        await store.append(stock_item.stream(product.product_id), [replaced], expect=STREAM_EXISTS)


def _products(dice: random.Random) -> Iterator[Product]:
    for seller in range(1, SELLERS + 1):
        for number, good in enumerate(_GOODS[:PRODUCTS_EACH], start=1):
            yield Product(
                product_id=f"s{seller}-p{number}",
                seller_id=f"seller-{seller}",
                name=f"{good} {seller}",
                unit_price=dice.randrange(500, 20_000, 5),
                freight=dice.randrange(0, 1_000, 5),
                quantity=dice.randrange(20, 60),
            )

"""One row per product, as carts copy it: version, price and freight of one moment, in the order in which they changed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Text

from counteract import Patch, Projection, Put, Recorded
from domain.products import PriceUpdated, ProductListed, VersionListed

product_replicas = Projection(
    "product-replicas",
    Column("product_id", Text, primary_key=True),
    Column("seller_id", Text, nullable=False),
    Column("name", Text),
    Column("product_version", Text),
    # In minor units.
    Column("unit_price", BigInteger),
    Column("freight", BigInteger),
    # Of the product's own stream: a copy with a higher one is a later one.
    Column("revision", Integer),
    shards=2,
)


@product_replicas.on(ProductListed)
def listed(recorded: Recorded[ProductListed]) -> Put:
    event = recorded.event
    return Put(
        recorded.stream.aggregate_id,
        {
            "seller_id": event.seller_id,
            "name": event.name,
            "product_version": event.product_version,
            "unit_price": event.unit_price,
            "freight": event.freight,
            "revision": recorded.version,
        },
    )


@product_replicas.on(PriceUpdated)
def price_updated(recorded: Recorded[PriceUpdated]) -> Patch:
    fields = {"unit_price": recorded.event.unit_price, "revision": recorded.version}
    return Patch(recorded.stream.aggregate_id, fields)


@product_replicas.on(VersionListed)
def version_listed(recorded: Recorded[VersionListed]) -> Patch:
    event = recorded.event
    fields = {"product_version": event.product_version, "unit_price": event.unit_price, "revision": recorded.version}
    return Patch(recorded.stream.aggregate_id, fields)

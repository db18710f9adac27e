"""The product service."""

from __future__ import annotations

from counteract import Streams, handles
from domain import products
from domain.products import Replacement, ReplaceProduct


@handles(ReplaceProduct)
async def replace_product(command: ReplaceProduct, streams: Streams) -> Replacement:
    product = await streams.load(products.products, command.product_id)
    product.append(*products.replace_with(product.state, command))
    return Replacement(product_version=command.product_version)

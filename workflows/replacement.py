"""A seller replaces a product."""

from __future__ import annotations

from temporalio import workflow

from counteract import SagaWorkflow
from domain.products import ReplacementRequest, ReplaceProduct
from domain.stock import RenewStockItem


@workflow.defn
class ProductReplacement(SagaWorkflow):
    """The product first, then its stock: between the two a cart with either version is refused or undone, never mixed up.

    A saga, because two contexts change. Its workflow id is to be that of the product: Temporal runs one at a time, so that
    the stock follows in the order of the product's versions.
    """

    @workflow.run
    async def run(self, request: ReplacementRequest) -> None:
        async with self.saga() as saga:
            replaced = await saga.execute(
                ReplaceProduct(
                    product_id=request.product_id,
                    product_version=request.product_version,
                    unit_price=request.unit_price,
                )
            )
            await saga.execute(RenewStockItem(product_id=request.product_id, product_version=replaced.product_version))

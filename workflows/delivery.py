"""A seller's packages of one order arrive."""

from __future__ import annotations

from temporalio import workflow

from counteract import SagaWorkflow
from domain.orders import DeliverOrder
from domain.shipments import Delivered, DeliverPackages, DeliveryRequest


@workflow.defn
class Delivery(SagaWorkflow):
    """The packages; and with the last of a shipment, the order.

    A saga, because two contexts change.
    """

    @workflow.run
    async def run(self, request: DeliveryRequest) -> Delivered:
        async with self.saga() as saga:
            delivered = await saga.execute(DeliverPackages(order_id=request.order_id, seller_id=request.seller_id))
            if delivered.is_concluded:
                await saga.execute(DeliverOrder(order_id=request.order_id))
        return delivered

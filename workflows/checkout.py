"""A customer buys a cart."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from counteract import Rejected, Saga, SagaWorkflow
from domain.checkout import CartLine, CheckoutRequest, Receipt
from domain.orders import CompleteOrder, PlaceOrder
from domain.payments import AuthorizePayment, ConfirmPayment
from domain.shipments import CreateShipment
from domain.stock import ConfirmStock, ReserveStock


@workflow.defn
class Checkout(SagaWorkflow):
    """Reserve, order, authorise; take the money; then sell, ship and close."""

    @workflow.run
    async def run(self, request: CheckoutRequest) -> Receipt:
        order_id, customer_id = request.order_id, request.customer_id
        async with self.saga(deadline=timedelta(minutes=30)) as saga:
            cart = await reserve(saga, request)
            lines = tuple(line.ordered() for line in cart)
            order = await saga.execute(
                PlaceOrder(order_id=order_id, customer_id=customer_id, placed_on=workflow.now().date(), lines=lines)
            )
            amount = order.totals.invoice
            authorized = await saga.execute(
                AuthorizePayment(order_id=order_id, customer_id=customer_id, amount=amount, payment=request.payment)
            )
            await saga.execute(ConfirmPayment(order_id=order_id, authorization=authorized.authorization, amount=amount))
            await saga.parallel(*(ConfirmStock(product_id=line.product_id, order_id=order_id) for line in cart))
            shipment = await saga.execute(
                CreateShipment(order_id=order_id, customer_id=customer_id, address=request.address, lines=lines)
            )
            await saga.execute(CompleteOrder(order_id=order_id))
        return Receipt(
            order_id=order_id,
            number=order.number,
            invoice=order.invoice,
            totals=order.totals,
            products=tuple(line.product_id for line in cart),
            packages=shipment.packages,
            position=saga.position,
        )


async def reserve(saga: Saga, request: CheckoutRequest) -> list[CartLine]:
    """The lines whose units are held: all of them, or with `partial` as many as could be."""
    holds = [
        ReserveStock(
            product_id=line.product_id,
            product_version=line.product_version,
            order_id=request.order_id,
            quantity=line.quantity,
        )
        for line in request.lines
    ]
    if not request.partial:
        await saga.parallel(*holds)
        return list(request.lines)
    answers = await saga.parallel(*holds, tolerate_refusals=True)
    cart = [line for line, answer in zip(request.lines, answers, strict=True) if not isinstance(answer, Rejected)]
    if not cart:
        raise Rejected("nothing could be reserved")
    return cart

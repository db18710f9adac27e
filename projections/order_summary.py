"""One row per order: what a customer's list of orders shows."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Text

from counteract import Increment, Patch, Projection, Put, Recorded
from domain.orders import OrderCancelled, OrderCompleted, OrderDelivered, OrderPlaced, OrderStatus
from domain.payments import PaymentAuthorized, PaymentCaptured, PaymentVoided
from domain.shipments import PackagesDelivered, ShipmentConcluded, ShipmentCreated

order_summary = Projection(
    "order-summary",
    Column("order_id", Text, primary_key=True),
    Column("customer_id", Text),
    Column("invoice", Text),
    Column("status", Text),
    Column("lines", Integer),
    # Minor units.
    Column("total", BigInteger),
    Column("paid", BigInteger, default=0),
    Column("packages", Integer, default=0),
    Column("delivered", Integer, default=0),
    shards=2,
)
# An order is paid once its payment is captured, and delivered when it says so itself.
order_summary.ignores(PaymentAuthorized, PaymentVoided, ShipmentConcluded)


@order_summary.on(OrderPlaced)
def placed(recorded: Recorded[OrderPlaced]) -> Put:
    order = recorded.event
    return Put(
        recorded.stream.aggregate_id,
        {
            "customer_id": order.customer_id,
            "invoice": order.invoice,
            "status": OrderStatus.PLACED,
            "lines": len(order.lines),
            "total": order.totals.invoice,
        },
    )


@order_summary.on(OrderCancelled)
def cancelled(recorded: Recorded[OrderCancelled]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"status": OrderStatus.CANCELLED})


@order_summary.on(PaymentCaptured)
def paid(recorded: Recorded[PaymentCaptured]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"paid": recorded.event.amount})


@order_summary.on(ShipmentCreated)
def shipped(recorded: Recorded[ShipmentCreated]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"packages": len(recorded.event.packages)})


@order_summary.on(OrderCompleted)
def completed(recorded: Recorded[OrderCompleted]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"status": OrderStatus.COMPLETED})


@order_summary.on(PackagesDelivered)
def arrived(recorded: Recorded[PackagesDelivered]) -> Increment:
    return Increment(recorded.stream.aggregate_id, "delivered", len(recorded.event.packages))


@order_summary.on(OrderDelivered)
def delivered(recorded: Recorded[OrderDelivered]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"status": OrderStatus.DELIVERED})

"""What customers paid, and what came of it: a row for each order, summed up for each customer when it is asked for.

An order knows its customer, a payment only its order: a row per order brings them together.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, Index, Text, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Patch, Projection, Put, Recorded
from domain.orders import OrderCancelled, OrderCompleted, OrderDelivered, OrderPlaced
from domain.payments import PaymentAuthorized, PaymentCaptured, PaymentVoided

customer_statistics = Projection(
    "customer-statistics",
    Column("order_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("authorized", Boolean, nullable=False, default=False),
    Column("cancelled", Boolean, nullable=False, default=False),
    Column("delivered", Boolean, nullable=False, default=False),
    # In minor units; null until it is captured.
    Column("spent", BigInteger),
    Index("customer_statistics_customer_id_idx", "customer_id"),
    shards=2,
)
_rows = customer_statistics.table
customer_statistics.ignores(OrderCompleted, PaymentVoided)


@customer_statistics.on(OrderPlaced)
def placed(recorded: Recorded[OrderPlaced]) -> Put:
    return Put(recorded.stream.aggregate_id, {"customer_id": recorded.event.customer_id})


@customer_statistics.on(OrderCancelled)
def cancelled(recorded: Recorded[OrderCancelled]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"cancelled": True})


@customer_statistics.on(PaymentAuthorized)
def authorized(recorded: Recorded[PaymentAuthorized]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"authorized": True})


@customer_statistics.on(PaymentCaptured)
def paid(recorded: Recorded[PaymentCaptured]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"spent": recorded.event.amount})


@customer_statistics.on(OrderDelivered)
def delivered(recorded: Recorded[OrderDelivered]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"delivered": True})


@dataclass(frozen=True, slots=True)
class Statistics:
    """One customer's orders: how many were paid, cancelled without a payment ever held for them, and delivered; and what
    was spent, in minor units."""

    paid: int
    declined: int
    delivered: int
    spent: int


async def statistics_of(engine: AsyncEngine, customer_id: str) -> Statistics:
    is_declined = _rows.c.cancelled & ~_rows.c.authorized
    query = select(
        func.count(_rows.c.spent),
        func.count().filter(is_declined),
        func.count().filter(_rows.c.delivered),
        func.coalesce(func.sum(_rows.c.spent), 0),
    ).where(_rows.c.customer_id == customer_id)
    async with engine.connect() as connection:
        paid, declined, delivered, spent = (await connection.execute(query)).one()
    return Statistics(paid, declined, delivered, int(spent))

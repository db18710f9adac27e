"""What sellers have to send, and what it comes to: one row for each line of an open order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, Text, delete, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.dml import Delete as DeleteStatement

from counteract import Delete, Patch, Projection, Put, Recorded
from domain.orders import OrderCancelled, OrderCompleted, OrderDelivered, OrderPlaced
from domain.shipments import PackagesDelivered, ShipmentConcluded, ShipmentCreated

seller_dashboard = Projection(
    "seller-dashboard",
    Column("order_id", Text, primary_key=True),
    # Once in an order.
    Column("product_id", Text, primary_key=True),
    Column("seller_id", Text, nullable=False),
    Column("product_name", Text),
    Column("quantity", Integer),
    # With freight and without discount, in minor units.
    Column("amount", BigInteger),
    # When it was sent, by the log's positions; null until then.
    Column("sent", BigInteger),
    Index("seller_dashboard_seller_id_idx", "seller_id", "sent"),
)
_rows = seller_dashboard.table
# A line is open until its package has arrived.
seller_dashboard.ignores(OrderCompleted, OrderDelivered, ShipmentConcluded)


@seller_dashboard.on(OrderPlaced)
def placed(recorded: Recorded[OrderPlaced]) -> list[Put]:
    return [
        Put(
            (recorded.stream.aggregate_id, line.product_id),
            {
                "seller_id": line.seller_id,
                "product_name": line.product_name,
                "quantity": line.quantity,
                "amount": line.items + line.freight - line.discount,
            },
        )
        for line in recorded.event.lines
    ]


@seller_dashboard.on(OrderCancelled)
def cancelled(recorded: Recorded[OrderCancelled]) -> DeleteStatement:
    # Of which products, the event does not say.
    return delete(_rows).where(_rows.c.order_id == recorded.stream.aggregate_id)


@seller_dashboard.on(ShipmentCreated)
def sent(recorded: Recorded[ShipmentCreated]) -> list[Patch]:
    order_id = recorded.stream.aggregate_id
    return [Patch((order_id, each.product_id), {"sent": recorded.position}) for each in recorded.event.packages]


@seller_dashboard.on(PackagesDelivered)
def delivered(recorded: Recorded[PackagesDelivered]) -> list[Delete]:
    return [Delete((recorded.stream.aggregate_id, each.product_id)) for each in recorded.event.packages]


@dataclass(frozen=True, slots=True)
class OpenLine:
    """One line of an open order."""

    order_id: str
    product_id: str
    product_name: str
    quantity: int
    amount: int


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One seller's, as of one moment: `total` is the sum of the lines. In minor units."""

    seller_id: str
    total: int
    lines: Sequence[OpenLine]


async def dashboard(engine: AsyncEngine, seller_id: str) -> Dashboard:
    """Two queries, which agree: both see the rows as they were when the first one began."""
    lines = select(_rows.c.order_id, _rows.c.product_id, _rows.c.product_name, _rows.c.quantity, _rows.c.amount)
    total = select(func.coalesce(func.sum(_rows.c.amount), 0)).where(_rows.c.seller_id == seller_id)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        amount = (await connection.execute(total)).scalar_one()
        found = await connection.execute(lines.where(_rows.c.seller_id == seller_id).order_by(*_rows.primary_key))
        return Dashboard(seller_id, int(amount), [OpenLine(*row) for row in found])


async def due_deliveries(engine: AsyncEngine, *, sellers: int = 10) -> Sequence[tuple[str, str]]:
    """The first sellers, in order, that have something on its way, each with the order that has been so for longest."""
    oldest = (
        select(_rows.c.order_id, _rows.c.seller_id)
        .where(_rows.c.sent.is_not(None))
        .ext(distinct_on(_rows.c.seller_id))
        .order_by(_rows.c.seller_id, _rows.c.sent)
        .limit(sellers)
    )
    async with engine.connect() as connection:
        return [(order_id, seller_id) for order_id, seller_id in await connection.execute(oldest)]

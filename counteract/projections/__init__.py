"""Projections: read models as pure functions of events, kept up to date exactly once.

    from sqlalchemy import BigInteger, Column, Text

    from counteract.projections import Increment, Patch, Projection, Put

    order_summary = Projection(
        "order-summary",
        Column("order_id", Text, primary_key=True),
        Column("customer_id", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("total", BigInteger, nullable=False),
        Column("packages", BigInteger, nullable=False, default=0),
    )

    @order_summary.on(OrderPlaced)
    def placed(recorded: Recorded[OrderPlaced]) -> Put:
        order = recorded.event
        return Put(order.order_id, {"customer_id": order.customer_id, "status": "placed", "total": order.total})

    @order_summary.on(OrderCancelled)
    def cancelled(recorded: Recorded[OrderCancelled]) -> Patch:
        return Patch(recorded.stream.aggregate_id, {"status": "cancelled"})

    @order_summary.on(ShipmentCreated)
    def shipped(recorded: Recorded[ShipmentCreated]) -> Iterator[Operation]:
        for package in recorded.event.packages:
            yield Increment(package.order_id, "packages")

    order_summary.ignores(OrderNumbered)     # an event that is neither handled nor ignored is an error at the start

    @order_summary.on(CustomersMerged)
    def merged(recorded: Recorded[CustomersMerged]) -> UpdateBase:      # for changes that operations cannot express
        rows = order_summary.table
        merged_away = rows.c.customer_id == recorded.stream.aggregate_id
        return update(rows).where(merged_away).values(customer_id=recorded.event.into)

`order_summary.table` is an ordinary SQLAlchemy table to query. `ProjectionRunner(url, [order_summary]).run()` creates
it and keeps it up to date; the rows and the checkpoint move in one transaction, so each event counts once. After an
append, `await reached(store, "order-summary", appended.position, timeout=5)` waits until the projection shows it.
"""

from counteract.projections.operations import Delete, Effect, Increment, Operation, Patch, Put
from counteract.projections.projection import Projection
from counteract.projections.runner import ProjectionRunner
from counteract.projections.views import MaterializedView
from counteract.subscriptions import reached

__all__ = [
    "Delete",
    "Effect",
    "Increment",
    "MaterializedView",
    "Operation",
    "Patch",
    "Projection",
    "ProjectionRunner",
    "Put",
    "reached",
]

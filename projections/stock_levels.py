"""One row per product: how many units are available, held and sold.

The events that end a reservation do not say how many units it held. So the row remembers what each order holds, and the
changes are statements that look there.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Integer, Text, func, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.dml import Update

from counteract import Patch, Projection, Put, Recorded
from domain.stock import ProductDeleted, ProductReplaced, StockItemAdded, StockReleased, StockReserved, StockSold

stock_levels = Projection(
    "stock-levels",
    Column("product_id", Text, primary_key=True),
    Column("seller_id", Text, nullable=False),
    # Null: not for sale any more.
    Column("product_version", Text),
    Column("available", Integer, nullable=False, default=0),
    Column("held", Integer, nullable=False, default=0),
    Column("sold", Integer, nullable=False, default=0),
    # Units by order.
    Column("holds", JSONB, nullable=False),
)
_row = stock_levels.table.c


@stock_levels.on(StockItemAdded)
def added(recorded: Recorded[StockItemAdded]) -> Put:
    event = recorded.event
    row = {"seller_id": event.seller_id, "product_version": event.product_version, "available": event.quantity}
    return Put(recorded.stream.aggregate_id, {**row, "holds": {}})


@stock_levels.on(ProductReplaced)
def replaced(recorded: Recorded[ProductReplaced]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"product_version": recorded.event.product_version})


@stock_levels.on(ProductDeleted)
def deleted(recorded: Recorded[ProductDeleted]) -> Patch:
    return Patch(recorded.stream.aggregate_id, {"product_version": None})


@stock_levels.on(StockReserved)
def reserved(recorded: Recorded[StockReserved]) -> Update:
    units, order_id = recorded.event.quantity, recorded.event.order_id
    hold = func.jsonb_build_object(order_id, units)
    return _of(recorded).values(available=_row.available - units, held=_row.held + units, holds=_row.holds.concat(hold))


@stock_levels.on(StockReleased)
def released(recorded: Recorded[StockReleased]) -> Update:
    units = _held_for(recorded.event.order_id)
    return _of(recorded).values(
        available=_row.available + units, held=_row.held - units, holds=_without(recorded.event.order_id)
    )


@stock_levels.on(StockSold)
def sold(recorded: Recorded[StockSold]) -> Update:
    units = _held_for(recorded.event.order_id)
    return _of(recorded).values(sold=_row.sold + units, held=_row.held - units, holds=_without(recorded.event.order_id))


def _of(recorded: Recorded[Any]) -> Update:
    return update(stock_levels.table).where(_row.product_id == recorded.stream.aggregate_id)


def _held_for(order_id: str) -> Any:
    return func.coalesce(_row.holds[order_id].as_integer(), 0)


def _without(order_id: str) -> Any:
    return func.jsonb_delete(_row.holds, order_id, type_=JSONB)

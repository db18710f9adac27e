"""The stock service."""

from __future__ import annotations

from counteract import Streams, Undo, compensates, handles
from domain import stock
from domain.stock import ConfirmStock, RenewStockItem, ReserveStock, StockReservation, stock_item


@handles(ReserveStock)
async def reserve_stock(command: ReserveStock, streams: Streams) -> StockReservation:
    item = await streams.load(stock_item, command.product_id)
    item.append(*stock.reserve(item.state, command))
    return StockReservation(quantity=command.quantity)


@compensates(ReserveStock)
async def release_stock(undo: Undo[ReserveStock, StockReservation], streams: Streams) -> None:
    """Safe when nothing was reserved, or was released before."""
    item = await streams.load(stock_item, undo.command.product_id)
    item.append(*stock.release(item.state, undo.command.order_id))


@handles(ConfirmStock)
async def confirm_stock(command: ConfirmStock, streams: Streams) -> None:
    item = await streams.load(stock_item, command.product_id)
    item.append(*stock.confirm(item.state, command.order_id))


@handles(RenewStockItem)
async def renew_stock_item(command: RenewStockItem, streams: Streams) -> None:
    item = await streams.load(stock_item, command.product_id)
    item.append(*stock.renew(item.state, command.product_version))

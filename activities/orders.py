"""The order service."""

from __future__ import annotations

from counteract import Streams, Undo, compensates, handles
from domain import orders
from domain.orders import CompleteOrder, DeliverOrder, OrderNumbered, PlacedOrder, PlaceOrder, order_numbers


@handles(PlaceOrder)
async def place_order(command: PlaceOrder, streams: Streams) -> PlacedOrder:
    numbers = await streams.load(order_numbers, command.customer_id)
    order = await streams.load(orders.orders, command.order_id)
    order.append(*orders.place(order.state, command, number=numbers.state + 1))
    numbers.append(OrderNumbered(order_id=command.order_id))
    return PlacedOrder(number=order.state.number, invoice=order.state.invoice, totals=orders.totals_of(command.lines))


@compensates(PlaceOrder)
async def cancel_order(undo: Undo[PlaceOrder, PlacedOrder], streams: Streams) -> None:
    """Safe when the order was never placed, or was cancelled before. Its number stays used."""
    order = await streams.load(orders.orders, undo.command.order_id)
    order.append(*orders.cancel(order.state))


@handles(CompleteOrder)
async def complete_order(command: CompleteOrder, streams: Streams) -> None:
    order = await streams.load(orders.orders, command.order_id)
    order.append(*orders.complete(order.state))


@handles(DeliverOrder)
async def deliver_order(command: DeliverOrder, streams: Streams) -> None:
    order = await streams.load(orders.orders, command.order_id)
    order.append(*orders.deliver(order.state))

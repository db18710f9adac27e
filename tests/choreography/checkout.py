"""The checkout without an orchestrator: each service reacts to what another has reported, on the way there and back.

CartSubmitted → CartHeld → OrderPlaced → PaymentAuthorized → PaymentCaptured → CartSold → ShipmentCreated → OrderCompleted
              ↘ CartRefused            ↘ PaymentDeclined → OrderCancelled → StockReleased
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, assert_never

from activities.payment_port import PaymentProvider
from counteract import Decider, Event, Forgotten, Personal, Rejected, Retriable
from counteract.messages import Recorded
from counteract.participants import Dispatch, Streams, handles
from counteract.reactions import Send, reacts_to
from domain import orders, payments, shipments, stock
from domain.checkout import CartLine
from domain.orders import OrderCancelled, OrderNumbered, OrderPlaced, PlaceOrder, order_numbers
from domain.payments import AuthorizePayment, PaymentAuthorized, PaymentCaptured, PaymentMethod
from domain.shipments import Address, CreateShipment, ShipmentCreated
from domain.stock import ReserveStock, stock_item
from domain.values import CustomerId, OrderId

QUEUE = "choreography"


class CartSubmitted(Event):
    """A customer buys a cart. Whoever reacts later finds here what the events between do not carry."""

    customer_id: CustomerId
    lines: tuple[CartLine, ...]
    address: Annotated[Address | Forgotten, Personal("customer_id")]
    payment: Annotated[PaymentMethod | Forgotten, Personal("customer_id")]


class CartHeld(Event):
    """Units are held for all of its lines."""


class CartRefused(Event):
    """Nothing is held."""

    reason: str


class PaymentDeclined(Event):
    """The provider holds nothing."""

    reason: str


class CartSold(Event):
    """What was held is gone."""


CartEvent = CartSubmitted | CartHeld | CartRefused | PaymentDeclined | CartSold


@dataclass(frozen=True, slots=True)
class Cart:
    """What was submitted."""

    submitted: CartSubmitted | None = None

    @property
    def contents(self) -> CartSubmitted:
        if self.submitted is None:
            raise Rejected("no such cart")
        return self.submitted


def evolve(cart: Cart, event: CartEvent) -> Cart:
    match event:
        case CartSubmitted():
            return Cart(event)
        case CartHeld() | CartRefused() | PaymentDeclined() | CartSold():
            return cart
        case _:
            assert_never(event)


carts = Decider("cart", initial=Cart(), evolve=evolve, events=CartEvent)


class TakePayment(Retriable[None], service="choreographed-payments"):
    """Take the amount that is held."""

    order_id: OrderId
    authorization: str
    amount: int


class CloseOrder(Retriable[None], service="choreographed-orders"):
    """Close an order that was paid and is on its way."""

    order_id: OrderId


class HoldCart(Retriable[None], service="choreographed-stock"):
    """Hold units for all lines, or say that this cannot be."""

    order_id: OrderId


class ReleaseCart(Retriable[None], service="choreographed-stock"):
    """Let go of what is held."""

    order_id: OrderId


class SellCart(Retriable[None], service="choreographed-stock"):
    """Turn held units into sold ones."""

    order_id: OrderId


class OrderCart(Retriable[None], service="choreographed-orders"):
    """Give an order its number, its invoice and its totals."""

    order_id: OrderId
    placed_on: date


class CallOffOrder(Retriable[None], service="choreographed-orders"):
    """Cancel an order that will not be paid."""

    order_id: OrderId


class AskForPayment(Retriable[None], service="choreographed-payments"):
    """Have the provider hold the amount, or say that it does not."""

    order_id: OrderId
    customer_id: CustomerId
    amount: int


class ShipCart(Retriable[None], service="choreographed-shipments"):
    """Pack and hand over."""

    order_id: OrderId


@handles(HoldCart)
async def hold_cart(command: HoldCart, streams: Streams) -> None:
    cart = await streams.load(carts, command.order_id)
    items = [(await streams.load(stock_item, each.product_id), each) for each in cart.state.contents.lines]
    try:
        holds = [(item, stock.reserve(item.state, _reservation(command.order_id, each))) for item, each in items]
    except Rejected as refused:
        cart.append(CartRefused(reason=str(refused)))
        return
    for item, events in holds:
        item.append(*events)
    cart.append(CartHeld())


@handles(ReleaseCart)
async def release_cart(command: ReleaseCart, streams: Streams) -> None:
    cart = await streams.load(carts, command.order_id)
    for each in cart.state.contents.lines:
        item = await streams.load(stock_item, each.product_id)
        item.append(*stock.release(item.state, command.order_id))


@handles(SellCart)
async def sell_cart(command: SellCart, streams: Streams) -> None:
    cart = await streams.load(carts, command.order_id)
    for each in cart.state.contents.lines:
        item = await streams.load(stock_item, each.product_id)
        item.append(*stock.confirm(item.state, command.order_id))
    cart.append(CartSold())


@handles(OrderCart)
async def order_cart(command: OrderCart, streams: Streams) -> None:
    cart = (await streams.load(carts, command.order_id)).state.contents
    lines = tuple(line.ordered() for line in cart.lines)
    asked = PlaceOrder(
        order_id=command.order_id, customer_id=cart.customer_id, placed_on=command.placed_on, lines=lines
    )
    numbers = await streams.load(order_numbers, cart.customer_id)
    order = await streams.load(orders.orders, command.order_id)
    order.append(*orders.place(order.state, asked, number=numbers.state + 1))
    numbers.append(OrderNumbered(order_id=command.order_id))


@handles(CallOffOrder)
async def call_off_order(command: CallOffOrder, streams: Streams) -> None:
    order = await streams.load(orders.orders, command.order_id)
    order.append(*orders.cancel(order.state))


@handles(AskForPayment, effect="external")
async def ask_for_payment(
    command: AskForPayment, streams: Streams, dispatch: Dispatch, provider: PaymentProvider
) -> None:
    cart = await streams.load(carts, command.order_id)
    method = cart.state.contents.payment
    if isinstance(method, Forgotten):
        cart.append(PaymentDeclined(reason="the customer was forgotten"))
        return
    try:
        authorization = await provider.authorize(str(dispatch.command_id), command.amount, method)
    except Rejected as refused:
        cart.append(PaymentDeclined(reason=str(refused)))
        return
    asked = AuthorizePayment(
        order_id=command.order_id, customer_id=command.customer_id, amount=command.amount, payment=method
    )
    payment = await streams.load(payments.payments, command.order_id)
    payment.append(*payments.authorized(payment.state, asked, authorization))


@handles(TakePayment, effect="external")
async def take_payment(command: TakePayment, streams: Streams, dispatch: Dispatch, provider: PaymentProvider) -> None:
    await provider.capture(str(dispatch.command_id), command.authorization, command.amount)
    payment = await streams.load(payments.payments, command.order_id)
    payment.append(*payments.captured(payment.state, command.amount))


@handles(CloseOrder)
async def close_order(command: CloseOrder, streams: Streams) -> None:
    order = await streams.load(orders.orders, command.order_id)
    order.append(*orders.complete(order.state))


@handles(ShipCart)
async def ship_cart(command: ShipCart, streams: Streams) -> None:
    cart = (await streams.load(carts, command.order_id)).state.contents
    if isinstance(cart.address, Forgotten):
        raise Rejected("nowhere to ship to: the customer was forgotten")
    lines = tuple(line.ordered() for line in cart.lines)
    shipment = await streams.load(shipments.shipments, command.order_id)
    asked = CreateShipment(order_id=command.order_id, customer_id=cart.customer_id, address=cart.address, lines=lines)
    shipment.append(*shipments.create(shipment.state, asked))


@reacts_to(CartSubmitted, from_="start")
def hold_what_was_submitted(submitted: Recorded[CartSubmitted]) -> Send:
    return Send(HoldCart(order_id=submitted.stream.aggregate_id), task_queue=QUEUE)


@reacts_to(CartHeld, from_="start")
def order_what_is_held(held: Recorded[CartHeld]) -> Send:
    command = OrderCart(order_id=held.stream.aggregate_id, placed_on=held.recorded_at.date())
    return Send(command, task_queue=QUEUE)


@reacts_to(OrderPlaced, from_="start")
def ask_for_what_was_ordered(placed: Recorded[OrderPlaced]) -> Send:
    order = placed.event
    command = AskForPayment(
        order_id=placed.stream.aggregate_id, customer_id=order.customer_id, amount=order.totals.invoice
    )
    return Send(command, task_queue=QUEUE)


@reacts_to(PaymentAuthorized, from_="start")
def take_what_was_authorized(authorized: Recorded[PaymentAuthorized]) -> Send:
    event = authorized.event
    command = TakePayment(
        order_id=authorized.stream.aggregate_id, authorization=event.authorization, amount=event.amount
    )
    return Send(command, task_queue=QUEUE)


@reacts_to(PaymentCaptured, from_="start")
def sell_what_was_paid(captured: Recorded[PaymentCaptured]) -> Send:
    return Send(SellCart(order_id=captured.stream.aggregate_id), task_queue=QUEUE)


@reacts_to(CartSold, from_="start")
def ship_what_was_sold(sold: Recorded[CartSold]) -> Send:
    return Send(ShipCart(order_id=sold.stream.aggregate_id), task_queue=QUEUE)


@reacts_to(ShipmentCreated, from_="start")
def close_what_was_shipped(shipped: Recorded[ShipmentCreated]) -> Send:
    return Send(CloseOrder(order_id=shipped.stream.aggregate_id), task_queue=QUEUE)


@reacts_to(PaymentDeclined, from_="start")
def call_off_what_is_not_paid(declined: Recorded[PaymentDeclined]) -> Send:
    return Send(CallOffOrder(order_id=declined.stream.aggregate_id), task_queue=QUEUE)


@reacts_to(OrderCancelled, from_="start")
def release_what_was_called_off(cancelled: Recorded[OrderCancelled]) -> Send:
    return Send(ReleaseCart(order_id=cancelled.stream.aggregate_id), task_queue=QUEUE)


REACTIONS = (
    hold_what_was_submitted,
    order_what_is_held,
    ask_for_what_was_ordered,
    take_what_was_authorized,
    sell_what_was_paid,
    ship_what_was_sold,
    close_what_was_shipped,
    call_off_what_is_not_paid,
    release_what_was_called_off,
)


def _reservation(order_id: str, line: CartLine) -> ReserveStock:
    return ReserveStock(
        product_id=line.product_id,
        product_version=line.product_version,
        order_id=order_id,
        quantity=line.quantity,
    )

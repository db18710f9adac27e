"""A checkout that takes signals and updates while it is under way: they add gifts, each a step of the saga."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow

from counteract import Saga, SagaWorkflow
from domain.checkout import CheckoutRequest, Receipt
from domain.orders import CompleteOrder, PlaceOrder
from domain.payments import AuthorizePayment, ConfirmPayment
from domain.shipments import CreateShipment
from domain.stock import ConfirmStock, ReserveStock
from domain.values import Value
from marketplace.catalogue import FIRST_VERSION
from workflows.checkout import reserve


class Gift(Value):
    """One unit of a product that is not in the cart."""

    product_id: str
    order_id: str


class GiftRequest(Value):
    """The input of the saga."""

    checkout: CheckoutRequest
    new_run: bool = False
    """Continue as new once the cart is reserved."""
    linger: float = 1.0
    """Seconds after the saga's end in which the workflow still takes signals and updates."""
    reserved: bool = False
    """Whether an earlier run has reserved the cart and these gifts."""
    gifts: tuple[str, ...] = ()


def sold(checkout: CheckoutRequest, gifts: Sequence[str]) -> tuple[str, ...]:
    """All products, in an order that does not depend on which gift was held first.

    In a run after a reset that may be another one, and a step's key has its number.
    """
    return (*(line.product_id for line in checkout.lines), *sorted(gifts))


@workflow.defn
class GiftCheckout(SagaWorkflow):
    """A `Checkout` with gifts, which cost nothing, and are reserved, sold and released like what is in the cart."""

    def __init__(self) -> None:
        self._gifts: list[str] = []
        self._under: Saga | None = None

    @workflow.run
    async def run(self, request: GiftRequest) -> Receipt:
        self._gifts[:0] = request.gifts
        async with self.saga(deadline=timedelta(minutes=30)) as saga:
            self._under = saga
            receipt = await self._check_out(saga, request)
        await workflow.sleep(timedelta(seconds=request.linger))
        return receipt

    async def _check_out(self, saga: Saga, request: GiftRequest) -> Receipt:
        checkout = request.checkout
        order_id, customer_id = checkout.order_id, checkout.customer_id
        if not request.reserved:
            await reserve(saga, checkout)
        if request.new_run:
            # A step in flight would be an error, and what it did is for the next run to know.
            await workflow.wait_condition(workflow.all_handlers_finished)
            further = {"new_run": False, "reserved": True, "gifts": tuple(self._gifts)}
            workflow.continue_as_new(request.model_copy(update=further))
        lines = tuple(line.ordered() for line in checkout.lines)
        order = await saga.execute(
            PlaceOrder(order_id=order_id, customer_id=customer_id, placed_on=workflow.now().date(), lines=lines)
        )
        amount = order.totals.invoice
        authorized = await saga.execute(
            AuthorizePayment(order_id=order_id, customer_id=customer_id, amount=amount, payment=checkout.payment)
        )
        await workflow.wait_condition(workflow.all_handlers_finished)
        await saga.execute(ConfirmPayment(order_id=order_id, authorization=authorized.authorization, amount=amount))
        # One may have begun in the moment before, and is answered or refused by now.
        await workflow.wait_condition(workflow.all_handlers_finished)
        products = sold(checkout, self._gifts)
        await saga.parallel(*(ConfirmStock(product_id=each, order_id=order_id) for each in products))
        shipment = await saga.execute(
            CreateShipment(order_id=order_id, customer_id=customer_id, address=checkout.address, lines=lines)
        )
        await saga.execute(CompleteOrder(order_id=order_id))
        return Receipt(
            order_id=order_id,
            number=order.number,
            invoice=order.invoice,
            totals=order.totals,
            products=products,
            packages=shipment.packages,
            position=saga.position,
        )

    @workflow.signal
    async def wrap(self, gift: Gift) -> None:
        """Add a gift; nobody waits for the answer."""
        await self._add(gift)

    @workflow.update
    async def add(self, gift: Gift) -> int:
        """Add a gift, and say how many units are held. Refused where it comes too late."""
        return await self._add(gift)

    async def _add(self, gift: Gift) -> int:
        # What a reset sends again, or comes before the first step, waits for the saga to be open.
        await workflow.wait_condition(lambda: self._under is not None)
        if self._under is None:
            raise AssertionError("it was waited for")
        held = await self._under.execute(
            ReserveStock(product_id=gift.product_id, product_version=FIRST_VERSION, order_id=gift.order_id, quantity=1)
        )
        self._gifts.append(gift.product_id)
        return held.quantity

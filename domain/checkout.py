"""What a customer sends to buy a cart, and gets back."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

from domain.orders import OrderLine, Totals
from domain.payments import PaymentMethod
from domain.shipments import Address
from domain.values import CustomerId, Identifier, OrderId, Value


class CartLine(OrderLine):
    """One line of the cart, with the version of the product that the customer saw."""

    product_version: Identifier

    def ordered(self) -> OrderLine:
        """The line as the order keeps it."""
        return OrderLine.model_validate(self.model_dump(exclude={"product_version"}))


class CheckoutRequest(Value):
    """The input of the checkout saga."""

    order_id: OrderId
    customer_id: CustomerId
    address: Address
    payment: PaymentMethod
    lines: tuple[CartLine, ...] = Field(min_length=1, max_length=10)
    partial: bool = False
    """Go on with the lines that could be reserved, instead of all or nothing."""

    @model_validator(mode="after")
    def _each_product_once(self) -> Self:
        products = [line.product_id for line in self.lines]
        twice = sorted({product for product in products if products.count(product) > 1})
        if twice:
            raise ValueError(f"products in more than one line: {', '.join(twice)}; add their quantities up")
        return self


class Receipt(BaseModel):
    """The result of a checkout."""

    order_id: str
    number: int
    invoice: str
    totals: Totals
    products: tuple[str, ...]
    """What was bought: with `partial`, less than was asked for."""
    packages: int
    position: int
    """Read models that have come this far in the log show the checkout."""

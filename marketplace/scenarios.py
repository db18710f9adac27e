"""Checkouts of every kind, and how each must end."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from domain.checkout import CartLine, CheckoutRequest
from domain.payments import Card, Method, PaymentMethod
from domain.shipments import Address
from marketplace.catalogue import FIRST_VERSION, Catalogue, Product


class Ending(StrEnum):
    """The ways in which a checkout ends."""

    COMPLETED = "completed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One checkout."""

    kind: str
    request: CheckoutRequest
    ending: Ending
    cancel_at: str | None = None
    """The step at whose begin the checkout is cancelled; None: it is not."""

    @property
    def workflow_id(self) -> str:
        return f"checkout-{self.request.order_id}"

    @property
    def slow(self) -> bool:
        card = self.request.payment.card
        return card is not None and card.token in SLOW and not self.cancel_at


class Trouble(StrEnum):
    """The trouble with one line of a cart."""

    NONE = "none"
    SCARCE = "more units than there are"
    REPLACED = "a version that is no longer sold"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of checkout: how it differs from others."""

    name: str
    count: int
    ending: Ending
    token: str = "tok_fine"  # noqa: S105 - a mood of the payment provider
    trouble: Trouble = Trouble.NONE
    partial: bool = False
    cancel_at: str | None = None


SLOW = ("tok_silent", "tok_capture_silent", "tok_capture_down")
"""The cards with which a checkout waits in vain for seconds."""

KINDS = (
    Kind("plain", 17, Ending.COMPLETED),
    Kind("boleto", 3, Ending.COMPLETED, token=""),
    Kind("provider fails twice, then works", 3, Ending.COMPLETED, token="tok_flaky"),  # noqa: S106
    Kind("provider's first answer is lost", 3, Ending.COMPLETED, token="tok_slow"),  # noqa: S106
    Kind("partly out of stock, goes on", 3, Ending.COMPLETED, trouble=Trouble.SCARCE, partial=True),
    Kind("out of stock", 4, Ending.COMPENSATED, trouble=Trouble.SCARCE),
    Kind("product replaced", 4, Ending.COMPENSATED, trouble=Trouble.REPLACED),
    Kind("card declined", 4, Ending.COMPENSATED, token="tok_declined"),  # noqa: S106
    Kind("authorised, but never answered", 2, Ending.COMPENSATED, token="tok_silent"),  # noqa: S106
    Kind("captured, but never answered", 2, Ending.COMPLETED, token="tok_capture_silent"),  # noqa: S106
    Kind("capture fails for good", 2, Ending.COMPENSATED, token="tok_capture_down"),  # noqa: S106
    Kind("cancelled midway", 3, Ending.CANCELLED, token="tok_silent", cancel_at="AuthorizePayment"),  # noqa: S106
)


def scenarios(catalogue: Catalogue) -> list[Scenario]:
    """50 checkouts, the kinds mixed but for the slow ones, which come first; the same every time."""
    dice = random.Random(11)  # noqa: S311 - no secret
    made = [scenario for kind in KINDS for scenario in _of_kind(kind, catalogue, dice)]
    dice.shuffle(made)
    return sorted(made, key=lambda scenario: not scenario.slow)


def _of_kind(kind: Kind, catalogue: Catalogue, dice: random.Random) -> Iterator[Scenario]:
    slug = "-".join(re.findall("[a-z]+", kind.name))
    for number in range(1, kind.count + 1):
        request = CheckoutRequest(
            order_id=f"{slug}-{number}",
            customer_id=f"customer-{dice.randint(1, 12)}",
            address=Address(
                name="A. Customer", street="1 Market Street", city="Rio", postal_code="20000", country="BR"
            ),
            payment=_payment(kind.token),
            lines=tuple(_cart(kind.trouble, catalogue, dice)),
            partial=kind.partial,
        )
        yield Scenario(kind.name, request, kind.ending, kind.cancel_at)


def _cart(trouble: Trouble, catalogue: Catalogue, dice: random.Random) -> Iterator[CartLine]:
    for product in dice.sample(catalogue.plain, dice.randint(1, 4)):
        yield _line(product, dice.randint(1, 2))
    match trouble:
        case Trouble.SCARCE:
            yield _line(dice.choice(catalogue.scarce), 10)
        case Trouble.REPLACED:
            yield _line(dice.choice(catalogue.replaced), 1)


def _line(product: Product, quantity: int) -> CartLine:
    return CartLine(
        seller_id=product.seller_id,
        product_id=product.product_id,
        product_version=FIRST_VERSION,
        product_name=product.name,
        unit_price=product.unit_price,
        freight=product.freight,
        quantity=quantity,
        voucher=product.freight,
    )


def _payment(token: str) -> PaymentMethod:
    if not token:
        return PaymentMethod(method=Method.BOLETO)
    card = Card(token=token, holder="A. Customer", last_four="4242", expires="12/30")
    return PaymentMethod(method=Method.CREDIT_CARD, card=card)

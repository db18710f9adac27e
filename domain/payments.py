"""Payments: authorised first, captured once, or voided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Self, assert_never

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, model_validator

from counteract import Compensatable, Decider, Event, Pivot, Retry
from domain.values import CardToken, CustomerId, Holder, OrderId, Value

PROVIDER_RETRY = Retry(initial=timedelta(milliseconds=200), maximum=timedelta(seconds=2))


class Method(StrEnum):
    CREDIT_CARD = "credit_card"
    DEBIT_CARD = "debit_card"
    BOLETO = "boleto"


class Card(Value):
    """What the provider needs beside the token, and a receipt shows."""

    token: CardToken
    holder: Holder = Field(repr=False)
    last_four: str = Field(pattern=r"^\d{4}$")
    expires: str = Field(pattern=r"^(0[1-9]|1[0-2])/\d{2}$")


class PaymentMethod(Value):
    """How the customer pays."""

    method: Method
    card: Card | None = None
    instalments: PositiveInt = Field(default=1, le=24)

    @model_validator(mode="after")
    def _card_where_needed(self) -> Self:
        if (self.card is None) != (self.method is Method.BOLETO):
            raise ValueError("a card is needed for credit_card and debit_card, and only there")
        return self


class PaymentAuthorized(Event):
    """The provider holds the amount for us."""

    customer_id: CustomerId
    amount: NonNegativeInt
    method: Method
    authorization: str


class PaymentVoided(Event):
    """The provider holds it no more."""


class PaymentCaptured(Event):
    """The money is ours."""

    amount: NonNegativeInt


PaymentEvent = PaymentAuthorized | PaymentVoided | PaymentCaptured


class Authorization(BaseModel):
    """The provider's name for an amount that it holds."""

    authorization: str


class Capture(BaseModel):
    """The provider's name for a payment."""

    payment: str


class AuthorizePayment(
    Compensatable[Authorization],
    service="payments",
    compensation="VoidPayment",
    attempt_timeout=timedelta(seconds=3),
    timeout=timedelta(seconds=8),
    retry=PROVIDER_RETRY,
):
    """Have the payment provider hold the amount."""

    order_id: OrderId
    customer_id: CustomerId
    amount: NonNegativeInt
    payment: PaymentMethod


class ConfirmPayment(
    Pivot[Capture],
    service="payments",
    attempt_timeout=timedelta(seconds=3),
    timeout=timedelta(seconds=8),
    retry=PROVIDER_RETRY,
):
    """Take the amount that is held: the point of no return."""

    order_id: OrderId
    authorization: str
    amount: NonNegativeInt


class PaymentStatus(StrEnum):
    NONE = "none"
    AUTHORIZED = "authorized"
    VOIDED = "voided"
    CAPTURED = "captured"


@dataclass(frozen=True, slots=True)
class Payment:
    """One order's payment."""

    status: PaymentStatus = PaymentStatus.NONE
    amount: int = 0
    authorization: str = ""


def authorized(payment: Payment, command: AuthorizePayment, authorization: str) -> list[PaymentEvent]:
    if payment.status is not PaymentStatus.NONE:
        return []
    return [
        PaymentAuthorized(
            customer_id=command.customer_id,
            amount=command.amount,
            method=command.payment.method,
            authorization=authorization,
        )
    ]


def voided(payment: Payment) -> list[PaymentEvent]:
    return [PaymentVoided()] if payment.status is PaymentStatus.AUTHORIZED else []


def captured(payment: Payment, amount: int) -> list[PaymentEvent]:
    return [] if payment.status is PaymentStatus.CAPTURED else [PaymentCaptured(amount=amount)]


def evolve(payment: Payment, event: PaymentEvent) -> Payment:
    match event:
        case PaymentAuthorized():
            return Payment(PaymentStatus.AUTHORIZED, event.amount, event.authorization)
        case PaymentVoided():
            return replace(payment, status=PaymentStatus.VOIDED)
        case PaymentCaptured():
            return replace(payment, status=PaymentStatus.CAPTURED, amount=event.amount)
        case _:
            assert_never(event)


payments = Decider("payment", initial=Payment(), evolve=evolve, events=PaymentEvent)

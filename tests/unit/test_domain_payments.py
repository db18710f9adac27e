"""Payments and the cards behind them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from domain import payments
from domain.payments import (
    AuthorizePayment,
    Card,
    Method,
    Payment,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentEvent,
    PaymentMethod,
    PaymentVoided,
)

pytestmark = pytest.mark.unit

CARD = {"token": "tok_fine", "holder": "Ann Lee", "last_four": "4242", "expires": "12/30"}
COMMAND = AuthorizePayment(order_id="o-1", customer_id="ann", amount=2050, payment=PaymentMethod(method=Method.BOLETO))
AUTHORIZED = PaymentAuthorized(customer_id="ann", amount=2050, method=Method.BOLETO, authorization="a-1")


def given_(*events: PaymentEvent) -> Payment:
    return payments.payments.fold(events)


def test_an_authorisation_is_noted_once() -> None:
    assert payments.authorized(given_(), COMMAND, "a-1") == [AUTHORIZED]
    assert payments.authorized(given_(AUTHORIZED), COMMAND, "a-1") == []


def test_what_was_authorised_is_voided_once() -> None:
    assert payments.voided(given_(AUTHORIZED)) == [PaymentVoided()]
    assert payments.voided(given_(AUTHORIZED, PaymentVoided())) == []


def test_there_is_nothing_to_void_of_what_was_never_authorised() -> None:
    assert payments.voided(given_()) == []


def test_a_captured_payment_is_not_voided() -> None:
    assert payments.voided(given_(AUTHORIZED, PaymentCaptured(amount=2050))) == []


def test_a_capture_is_noted_once() -> None:
    assert payments.captured(given_(AUTHORIZED), 2050) == [PaymentCaptured(amount=2050)]
    assert payments.captured(given_(AUTHORIZED, PaymentCaptured(amount=2050)), 2050) == []


def test_an_event_of_a_payment_holds_nothing_of_the_card() -> None:
    command = COMMAND.model_copy(update={"payment": PaymentMethod(method=Method.CREDIT_CARD, card=Card(**CARD))})
    (event,) = payments.authorized(given_(), command, "a-1")
    assert not any(str(part) in event.model_dump_json() for part in CARD.values())


CARD_NUMBERS = ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "378282246310005"]


@pytest.mark.parametrize("field", ["token", "holder"])
@pytest.mark.parametrize("number", CARD_NUMBERS)
def test_a_card_number_is_refused_without_being_repeated(number: str, field: str) -> None:
    with pytest.raises(ValidationError, match="card numbers are not accepted here") as refusal:
        Card.model_validate(CARD | {field: number})
    assert number not in str(refusal.value)


@pytest.mark.parametrize("token", ["tok_4111111111111111", "tok_4111-1111-1111-1111", "TOK_FINE", "fine", "", "tok_"])
def test_only_a_token_of_the_provider_stands_for_a_card(token: str) -> None:
    with pytest.raises(ValidationError, match="must be a token of the payment provider"):
        Card.model_validate(CARD | {"token": token})


def test_a_token_with_digits_is_a_token() -> None:
    token = "tok_1f0c2b3a4d5e6f708192a3b4c5d6e7f8"  # noqa: S105 - of nobody
    assert Card.model_validate(CARD | {"token": token}).token == token


def test_a_command_shown_in_a_log_keeps_the_holder_to_itself() -> None:
    method = PaymentMethod(method=Method.DEBIT_CARD, card=Card(**CARD))
    assert "Ann" not in f"{COMMAND.model_copy(update={'payment': method})!r}"


@pytest.mark.parametrize(
    "changed", [{"last_four": "424"}, {"last_four": "42424242"}, {"expires": "13/30"}, {"cvc": "123"}], ids=str
)
def test_a_card_that_makes_no_sense_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Card.model_validate(CARD | changed)


@pytest.mark.parametrize(
    "payment",
    [{"method": "boleto", "card": CARD}, {"method": "credit_card"}, {"method": "debit_card"}],
    ids=["boleto with a card", "credit card without one", "debit card without one"],
)
def test_a_card_is_given_where_one_is_needed_and_only_there(payment: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a card is needed for credit_card and debit_card, and only there"):
        PaymentMethod.model_validate(payment)

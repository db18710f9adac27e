"""What a customer may send."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from domain.checkout import CheckoutRequest

pytestmark = pytest.mark.unit


def line(product: str = "p-1") -> dict[str, Any]:
    return {
        "seller_id": "s-1",
        "product_id": product,
        "product_version": "v1",
        "product_name": "Lamp",
        "unit_price": 1000,
        "quantity": 1,
    }


def request(**changed: Any) -> dict[str, Any]:
    address = {"name": "Ann Lee", "street": "1 Market Street", "city": "Rio", "postal_code": "20000", "country": "BR"}
    whole = {
        "order_id": "o-1",
        "customer_id": "ann",
        "address": address,
        "payment": {"method": "boleto"},
        "lines": [line()],
    }
    return whole | changed


def test_a_request_asks_for_all_or_nothing_unless_it_says_otherwise() -> None:
    assert CheckoutRequest.model_validate(request()).partial is False


def test_a_product_in_two_lines_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"products in more than one line: p-1; add their quantities up"):
        CheckoutRequest.model_validate(request(lines=[line("p-1"), line("p-2"), line("p-1")]))


@pytest.mark.parametrize("count", [0, 11])
def test_a_cart_has_one_to_ten_lines(count: int) -> None:
    with pytest.raises(ValidationError, match="lines"):
        CheckoutRequest.model_validate(request(lines=[line(f"p-{number}") for number in range(count)]))


def test_a_request_that_is_refused_does_not_tell_the_log_who_lives_where() -> None:
    wrong = request()["address"] | {"country": "Brasil"}
    with pytest.raises(ValidationError, match="country") as refusal:
        CheckoutRequest.model_validate(request(address=wrong))
    assert not any(part in str(refusal.value) for part in ("Ann", "Market", "Brasil", "20000"))


def test_a_line_goes_into_the_order_without_the_version_of_its_product() -> None:
    ordered = CheckoutRequest.model_validate(request()).lines[0].ordered()
    assert ordered.model_dump() == {
        "seller_id": "s-1",
        "product_id": "p-1",
        "product_name": "Lamp",
        "unit_price": 1000,
        "freight": 0,
        "quantity": 1,
        "voucher": 0,
    }

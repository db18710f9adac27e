"""The storm's own saga keeps to what a saga owes: the same steps in each of its runs."""

from __future__ import annotations

import pytest

from marketplace.chaos.gifts import sold
from tests.chaos.ended_cases import a_case

pytestmark = pytest.mark.unit


def test_gifts_are_sold_in_the_same_order_whichever_was_held_first() -> None:
    checkout = a_case("completed").scenario.request

    assert sold(checkout, ["s2-p1", "s1-p1"]) == sold(checkout, ["s1-p1", "s2-p1"])

"""The storm's judge notices what it is there to notice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from counteract.testing.protocol import Record, Told, Trace
from domain.orders import OrderCompleted, OrderPlaced, totals_of
from domain.payments import Method, PaymentAuthorized, PaymentCaptured
from domain.stock import StockItemAdded, StockReserved, StockSold
from marketplace.chaos.cases import INCOMPLETE, Case
from marketplace.chaos.judging.books import Books, Fold, authorization_of
from marketplace.chaos.judging.calm import Waits
from marketplace.chaos.judging.verdict import RECORDED, Evidence, each_saga_is_a_trace, findings, left_out
from marketplace.scenarios import Ending
from tests.chaos.ended_cases import a_case

pytestmark = pytest.mark.unit


def as_it_ended(case: Case, *, money: str, end: str) -> Books:
    """The books that a checkout leaves, with what the provider and the record are to say of it."""
    books = Books()
    books.sagas[case.key] = Counter({"SagaStarted": 1, end: 1})
    books.records = {case.key: RECORDED.get(end, "past the pivot")}
    amount = 0
    if end == "SagaCompleted":
        amount = sell(books, case)
    account = {"state": money, "amount": amount, "captures": ["once"] if money == "captured" else []}
    books.provider = {str(authorization_of(case)): account}
    return books


def sell(books: Books, case: Case) -> int:
    request = case.scenario.request
    for line in request.lines:
        added = StockItemAdded(seller_id=line.seller_id, product_version=line.product_version, quantity=50)
        reserved = StockReserved(order_id=case.order_id, quantity=line.quantity)
        enter(books.items, line.product_id, added, reserved, StockSold(order_id=case.order_id))
    lines = tuple(line.ordered() for line in request.lines)
    totals = totals_of(lines)
    placed = OrderPlaced(customer_id=request.customer_id, number=1, invoice="1", lines=lines, totals=totals)
    enter(books.orders, case.order_id, placed, OrderCompleted())
    authorized = PaymentAuthorized(
        customer_id=request.customer_id, amount=totals.invoice, method=Method.CREDIT_CARD, authorization="a"
    )
    enter(books.payments, case.order_id, authorized, PaymentCaptured(amount=totals.invoice))
    return totals.invoice


def enter(fold: Fold[Any], key: str, *events: Any) -> None:
    for event in events:
        fold.states[key] = fold.decider.evolve(fold.states.get(key, fold.decider.initial), event)


def broken(case: Case, books: Books, *, lost: bool = False, waits: Waits | None = None) -> list[str]:
    evidence = Evidence([case], books, {case.workflow_id} if lost else set(), {case: waits} if waits else {})
    return [finding.invariant for finding in findings(evidence) if not finding.holds]


MONEY = "the provider has the money of what completed, and of nothing else"


def test_a_checkout_that_completed_and_is_paid_for_breaks_nothing() -> None:
    case = a_case(Ending.COMPLETED)
    assert broken(case, as_it_ended(case, money="captured", end="SagaCompleted")) == []


def test_a_checkout_that_was_undone_and_whose_money_was_released_breaks_nothing() -> None:
    case = a_case(Ending.COMPENSATED)
    assert broken(case, as_it_ended(case, money="voided", end="SagaCompensated")) == []


def test_money_that_is_still_held_for_what_was_undone_is_noticed() -> None:
    case = a_case(Ending.COMPENSATED)
    books = as_it_ended(case, money="authorized", end="SagaCompensated")
    assert MONEY in broken(case, books)


def test_it_is_noticed_too_where_the_database_lost_commits() -> None:
    case = a_case(Ending.COMPENSATED)
    books = as_it_ended(case, money="authorized", end="SagaCompensated")
    assert MONEY in broken(case, books, lost=True)


def test_what_completed_and_was_undone_after_all_is_noticed() -> None:
    case = a_case(Ending.COMPLETED)
    books = as_it_ended(case, money="captured", end="SagaCompleted")
    item = case.products[0]
    books.items.states.pop(item)
    enter(books.items, item, StockItemAdded(seller_id="s", product_version="v1", quantity=5))
    assert broken(case, books) == ["of what completed nothing is undone: order, units and money"]


def test_a_completed_checkout_whose_database_forgot_it_is_left_out_and_counted() -> None:
    case = a_case(Ending.COMPLETED)
    books = as_it_ended(case, money="captured", end="SagaCompleted")
    books.orders.states.clear()
    evidence = Evidence([case], books, {case.workflow_id}, {})
    assert broken(case, books, lost=True) == []
    assert sum(number for _, number in left_out(evidence)) == 1


def test_a_second_end_on_record_is_noticed() -> None:
    case = a_case(Ending.COMPLETED)
    books = as_it_ended(case, money="captured", end="SagaCompleted")
    books.sagas[case.key]["SagaCompensated"] = 1
    assert "each saga has exactly one end on record" in broken(case, books)


def test_a_record_that_says_otherwise_than_the_event_is_noticed() -> None:
    case = a_case(Ending.COMPLETED)
    books = as_it_ended(case, money="captured", end="SagaCompleted")
    books.records = {case.key: "forward"}
    assert broken(case, books) == ["each saga's record and its last event say the same"]


def test_a_saga_that_is_stuck_although_it_lost_nothing_is_noticed() -> None:
    case = a_case(INCOMPLETE)
    books = as_it_ended(case, money="captured", end="SagaStuck")
    assert "every saga has ended, and in a way that it may" in broken(case, books)


def test_a_saga_whose_code_fails_again_and_again_is_noticed() -> None:
    case = a_case("not ended")
    books = as_it_ended(case, money="voided", end="SagaCompensated")
    assert "no saga's code fails again and again" in broken(
        case, books, waits=Waits("its code, attempt 9", is_wedged=True)
    )


def test_an_account_that_belongs_to_no_saga_is_noticed() -> None:
    case = a_case(Ending.COMPENSATED)
    books = as_it_ended(case, money="voided", end="SagaCompensated")
    books.provider = {**books.provider, "stranger": {"state": "voided", "amount": 1, "captures": []}}
    assert broken(case, books) == ["each of the provider's accounts belongs to a saga"]


def as_recorded(case: Case, *kinds: str) -> Trace:
    """What the tables say of a saga without steps that completed."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Trace(Record(*case.key, "completed", 1, at, at), told=[Told(kind) for kind in kinds])


async def is_a_trace(evidence: Evidence, *kinds: str) -> bool:
    async def traces() -> AsyncIterator[Trace]:
        yield as_recorded(evidence.cases[0], *kinds)

    return (await each_saga_is_a_trace(evidence, traces())).holds


async def test_a_saga_that_is_a_trace_of_the_protocol_breaks_nothing() -> None:
    evidence = Evidence([a_case(Ending.COMPLETED)], Books(), set(), {})
    assert await is_a_trace(evidence, "SagaStarted", "SagaCompleted")


async def test_a_saga_that_is_none_is_noticed() -> None:
    evidence = Evidence([a_case(Ending.COMPLETED)], Books(), set(), {})
    assert not await is_a_trace(evidence, "SagaCompleted")


async def test_its_end_is_held_against_the_record_where_the_database_lost_commits() -> None:
    case = a_case(Ending.COMPLETED)
    evidence = Evidence([case], Books(), {case.workflow_id}, {})
    assert await is_a_trace(evidence, "SagaCompleted")
    assert not await is_a_trace(evidence, "SagaCompleted", "SagaCompensated")


async def test_nothing_is_promised_of_one_that_was_reset_as_well() -> None:
    case = a_case(Ending.COMPLETED)
    case.resets = 1
    assert await is_a_trace(Evidence([case], Books(), {case.workflow_id}, {}))


def test_what_a_person_closed_is_not_held_against_how_its_workflow_ended() -> None:
    case = a_case(Ending.COMPLETED)
    books = as_it_ended(case, money="captured", end="SagaCompensated")
    evidence = Evidence([case], books, {case.workflow_id}, {}, closed={case})
    assert [finding.invariant for finding in findings(evidence) if not finding.holds] == []
    assert broken(case, books, lost=True) == ["each saga's last run ended as its record says"]

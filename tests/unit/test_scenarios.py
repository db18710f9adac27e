"""Given, when, then: what passes, and what is said of what does not."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import dedent

import pytest
from sqlalchemy import BigInteger, Column, Text, update
from sqlalchemy.sql.dml import UpdateBase

from counteract import Decider, Event, Recorded, Rejected
from counteract.projections import Delete, Increment, Operation, Patch, Projection, Put
from counteract.testing import given, in_stream

pytestmark = pytest.mark.unit


class Deposited(Event):
    amount: int
    note: str = ""


class Withdrawn(Event):
    amount: int


class Elsewhere(Event):
    pass


def evolve(balance: int, event: Deposited | Withdrawn) -> int:
    return balance + event.amount if isinstance(event, Deposited) else balance - event.amount


accounts = Decider("scenario-account", initial=0, evolve=evolve, events=Deposited | Withdrawn)


def withdraw(balance: int, amount: int, *, twice: bool = False) -> Sequence[Withdrawn]:
    if amount == 0:
        return []
    if amount > balance:
        raise Rejected("too little money", balance=balance, missing=amount - balance)
    return [Withdrawn(amount=amount)] * (2 if twice else 1)


def said(text: str) -> str:
    return dedent(text).strip()


def test_what_is_decided_is_what_was_expected() -> None:
    given(accounts, Deposited(amount=5)).when(withdraw, 3).then(Withdrawn(amount=3)).then_state(2)


def test_a_class_stands_for_any_event_of_it() -> None:
    given(accounts, Deposited(amount=5)).when(withdraw, 2, twice=True).then(Withdrawn, Withdrawn(amount=2))


def test_a_decision_follows_another() -> None:
    given(accounts, Deposited(amount=5)).when(withdraw, 3).when(withdraw, 2).then(Withdrawn(amount=2)).then_state(0)


def test_nothing_may_be_what_is_decided() -> None:
    given(accounts).when(withdraw, 0).then_nothing()


def test_a_refusal_is_held_to_its_reason_and_to_the_facts_that_are_named() -> None:
    refused = given(accounts, Deposited(amount=5)).when(withdraw, 7)
    refused.then_rejected("too little money", missing=2).then_rejected(balance=5).then_rejected()
    refused.then_state(5)


def test_an_error_that_is_no_refusal_is_raised() -> None:
    def fail(_: int) -> Sequence[Withdrawn]:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        given(accounts).when(fail)


def test_other_events_are_shown_beside_those_expected() -> None:
    with pytest.raises(AssertionError) as caught:
        given(accounts, Deposited(amount=5)).when(withdraw, 3, twice=True).then(
            Withdrawn(amount=3), Withdrawn(amount=4)
        )
    assert str(caught.value) == said("""
        Other events follow
        given:
            Deposited(amount=5, note='')
        when:
            withdraw(3, twice=True)
        difference (- expected, + actual):
              Withdrawn(amount=3)
            - Withdrawn(amount=4)
            ?                  ^
            + Withdrawn(amount=3)
            ?                  ^
        """)


def test_of_a_long_event_the_field_is_shown_that_differs() -> None:
    def note(_: int, text: str) -> Sequence[Deposited]:
        return [Deposited(amount=1, note=text)]

    with pytest.raises(AssertionError) as caught:
        given(accounts).when(note, "x" * 100).then(Deposited(amount=2, note="x" * 100))
    assert "-     amount=2," in str(caught.value)
    assert "+     amount=1," in str(caught.value)
    assert f"  {'    '}note='{'x' * 100}'," in str(caught.value)


def test_an_event_that_is_missing_and_one_too_many_are_shown() -> None:
    decided = given(accounts, Deposited(amount=5)).when(withdraw, 3)
    with pytest.raises(AssertionError, match=r"\n    - \(nothing\)\n    \+ Withdrawn\(amount=3\)"):
        decided.then_nothing()
    with pytest.raises(AssertionError, match=r"\n      Withdrawn\(amount=3\)\n    - Deposited\(…\)"):
        decided.then(Withdrawn, Deposited)


def test_a_refusal_in_place_of_events_is_shown() -> None:
    with pytest.raises(AssertionError) as caught:
        given(accounts).when(withdraw, 3).then(Withdrawn(amount=3))
    assert "It was refused, and events were expected" in str(caught.value)
    assert "+ Rejected: too little money (balance=0, missing=3)" in str(caught.value)


def test_events_in_place_of_a_refusal_are_shown() -> None:
    with pytest.raises(AssertionError) as caught:
        given(accounts, Deposited(amount=5)).when(withdraw, 3).then_rejected("too little money", balance=5)
    assert "It was not refused" in str(caught.value)
    assert "- Rejected: too little money (balance=5)" in str(caught.value)
    assert "+ Withdrawn(amount=3)" in str(caught.value)


@pytest.mark.parametrize(
    ("reason", "facts", "shown"),
    [
        ("no money", {}, "+ Rejected: too little money"),
        ("too little money", {"missing": 4}, "+ Rejected: too little money (missing=3)"),
        (None, {"lacking": 4}, "- Rejected: (any reason) (lacking=4)"),
    ],
)
def test_another_refusal_is_shown(reason: str | None, facts: dict[str, int], shown: str) -> None:
    with pytest.raises(AssertionError, match="refused otherwise") as caught:
        given(accounts).when(withdraw, 3).then_rejected(reason, **facts)
    assert shown in str(caught.value)


def test_another_state_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"The state is another(.|\n)*- 3(.|\n)*\+ 2"):
        given(accounts, Deposited(amount=5)).when(withdraw, 3).then_state(3)


def test_an_event_that_the_decider_could_not_read_again_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"given: not an event of 'scenario-account'.*\(Deposited, Withdrawn\)"):
        given(accounts, Elsewhere())  # type: ignore[misc]
    with pytest.raises(AssertionError, match="decided: not an event"):
        given(accounts).when(lambda _: [Elsewhere()])  # type: ignore[list-item]


balances = Projection(
    "balances",
    Column("account", Text, primary_key=True),
    Column("balance", BigInteger, nullable=False, default=0),
    Column("last", Text),
)


@balances.on(Deposited)
def deposited(recorded: Recorded[Deposited]) -> Sequence[Operation]:
    account = recorded.stream.aggregate_id
    return [Increment(account, "balance", recorded.event.amount), Patch(account, {"last": recorded.event.note})]


@balances.on(Withdrawn)
def withdrawn(recorded: Recorded[Withdrawn]) -> Operation:
    if recorded.event.amount == 0:
        return Delete(recorded.stream.aggregate_id)
    return Increment(recorded.stream.aggregate_id, "balance", -recorded.event.amount)


ANN = accounts.stream("ann")


def test_the_rows_are_what_the_events_come_to() -> None:
    example = given(balances, Deposited(amount=5, note="a")).when(
        Withdrawn(amount=3), *in_stream(ANN, Deposited(amount=1))
    )
    example.then_rows({"given": {"balance": 2, "last": "a"}, "ann": {"balance": 1, "last": ""}})
    example.then_row("given", balance=2).then_no_row("bob")


def test_what_the_new_events_lead_to_is_held_to_operations() -> None:
    example = given(balances, Deposited(amount=5)).when(Withdrawn(amount=3))
    example.then(Increment("given", "balance", -3))
    with pytest.raises(AssertionError) as caught:
        example.then(Increment("given", "balance", 3), Delete("given"))
    assert str(caught.value).startswith(
        "It does otherwise\ngiven:\n    scenario-account/given: Deposited(amount=5, note='')\nwhen:\n"
    )
    assert "- Delete(key='given')" in str(caught.value)


def test_rows_go_and_come_back_with_their_defaults() -> None:
    gone = given(balances, Deposited(amount=5, note="a")).when(Withdrawn(amount=0))
    gone.then_rows({})
    gone.when(Withdrawn(amount=1)).then_rows({"given": {"balance": -1, "last": None}})


def test_events_of_a_stream_have_its_versions_and_metadata() -> None:
    versions = Projection("versions", Column("id", Text, primary_key=True), Column("seen", Text))

    @versions.on(Elsewhere)
    def seen(recorded: Recorded[Elsewhere]) -> Put:
        said = f"{recorded.version} at {recorded.position} for {recorded.metadata['user_id']}"
        return Put(recorded.stream.aggregate_id, {"seen": said})

    events = in_stream(ANN, Elsewhere(), Elsewhere(), metadata={"user_id": "u"})
    given(versions, *events).when().then_row("ann", seen="2 at 2 for u")


def test_other_rows_are_shown_field_by_field() -> None:
    example = given(balances, Deposited(amount=5, note="a")).when(Withdrawn(amount=3))
    with pytest.raises(AssertionError) as caught:
        example.then_rows({"given": {"balance": 3, "last": "a"}})
    assert "The rows are others" in str(caught.value)
    assert "-     balance = 3" in str(caught.value)
    assert "+     balance = 2" in str(caught.value)
    assert "      last = 'a'" in str(caught.value)
    with pytest.raises(AssertionError, match="The row is another"):
        example.then_row("given", balance=3)
    with pytest.raises(AssertionError, match=r"There is no such row(.|\n)*'given':"):
        example.then_row("ann", balance=3)
    with pytest.raises(AssertionError, match="There is such a row"):
        example.then_no_row("given")


def test_a_statement_needs_a_database() -> None:
    moved = Projection("moved", Column("id", Text, primary_key=True), Column("place", Text))

    @moved.on(Elsewhere)
    def place(_: Recorded[Elsewhere]) -> UpdateBase:
        return update(moved.table).values(place="elsewhere")

    with pytest.raises(AssertionError, match=r"in_postgres\(url\)"):
        given(moved).when(Elsewhere()).then_rows({})

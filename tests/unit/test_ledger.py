"""The ledger alone: what is undone, in which order, and which orders of steps are refused."""

from __future__ import annotations

import pytest

from counteract import Compensatable, Outcome, Pivot, Retriable
from counteract.errors import SagaMisuse
from counteract.saga.ledger import Ledger, Step, Undoing

pytestmark = pytest.mark.unit


class Hold(Compensatable[None], service="ledger-tests", compensation="Release"):
    """A step before the pivot."""


class Pay(Pivot[None], service="ledger-tests"):
    """The point of no return."""


class Ship(Retriable[None], service="ledger-tests"):
    """A step after the pivot."""


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def begin(ledger: Ledger, *outcomes: Outcome | None) -> list[Step]:
    """One group of holds, with these outcomes."""
    steps = ledger.begin([Hold()] * len(outcomes))
    for step, outcome in zip(steps, outcomes, strict=True):
        if outcome is not None:
            ledger.settle(step, outcome)
    return steps


def plan(ledger: Ledger) -> list[list[str]]:
    return [[step.key for step in group] for group in ledger.undo_plan()]


def test_a_step_is_armed_before_anything_is_known_of_it(ledger: Ledger) -> None:
    begin(ledger, None)

    assert plan(ledger) == [["Hold"]]


def test_a_refused_step_is_not_undone(ledger: Ledger) -> None:
    begin(ledger, Outcome.APPLIED)
    begin(ledger, Outcome.NOT_APPLIED)

    assert plan(ledger) == [["Hold"]]


def test_a_step_of_unknown_outcome_is_undone(ledger: Ledger) -> None:
    begin(ledger, Outcome.UNKNOWN)

    assert plan(ledger) == [["Hold"]]
    assert [[step.key for step in group] for group in ledger.unknown()] == [["Hold"]]


def test_undo_runs_in_reverse_start_order_and_groups_stay_together(ledger: Ledger) -> None:
    begin(ledger, Outcome.APPLIED)
    begin(ledger, Outcome.APPLIED, Outcome.NOT_APPLIED, Outcome.UNKNOWN)
    begin(ledger, Outcome.APPLIED)

    assert plan(ledger) == [["Hold#5"], ["Hold#2", "Hold#4"], ["Hold"]]


@pytest.mark.parametrize("end", [Undoing.UNDONE, Undoing.SKIPPED])
def test_what_is_undone_or_skipped_is_not_undone_again(ledger: Ledger, end: Undoing) -> None:
    (step,) = begin(ledger, Outcome.APPLIED)
    step.undoing = end

    assert plan(ledger) == []


def test_an_undo_that_has_not_succeeded_is_still_owed(ledger: Ledger) -> None:
    (step,) = begin(ledger, Outcome.APPLIED)
    step.undoing = Undoing.RUNNING

    assert plan(ledger) == [["Hold"]]


def test_only_the_first_word_on_an_outcome_counts(ledger: Ledger) -> None:
    (step,) = begin(ledger, Outcome.UNKNOWN)
    ledger.settle(step, Outcome.NOT_APPLIED)

    assert step.outcome is Outcome.UNKNOWN


def test_nothing_is_undone_past_the_pivot(ledger: Ledger) -> None:
    begin(ledger, Outcome.APPLIED)
    (pivot,) = ledger.begin([Pay()])
    ledger.settle(pivot, Outcome.APPLIED)

    assert ledger.past_pivot
    assert plan(ledger) == []


@pytest.mark.parametrize("outcome", [None, Outcome.NOT_APPLIED])
def test_a_pivot_that_did_not_happen_leaves_everything_to_be_undone_but_itself(
    ledger: Ledger, outcome: Outcome | None
) -> None:
    begin(ledger, Outcome.APPLIED)
    (pivot,) = ledger.begin([Pay()])
    if outcome:
        ledger.settle(pivot, outcome)

    assert plan(ledger) == [["Hold"]]


def test_a_compensatable_step_after_the_pivot_is_a_mistake(ledger: Ledger) -> None:
    ledger.begin([Pay()])

    with pytest.raises(SagaMisuse, match="must come before the pivot Pay"):
        ledger.begin([Hold()])
    assert [step.key for step in ledger.steps] == ["Pay"]


def test_a_second_pivot_is_a_mistake_unless_the_first_was_refused(ledger: Ledger) -> None:
    (first,) = ledger.begin([Pay()])
    ledger.settle(first, Outcome.NOT_APPLIED)
    (second,) = ledger.begin([Pay()])
    ledger.settle(second, Outcome.APPLIED)

    assert second.key == "Pay#2"
    with pytest.raises(SagaMisuse, match="second pivot after Pay#2"):
        ledger.begin([Pay()])


def test_a_retriable_step_before_the_pivot_has_succeeded_is_a_mistake(ledger: Ledger) -> None:
    with pytest.raises(SagaMisuse, match="must come after the pivot"):
        ledger.begin([Ship()])
    ledger.begin([Pay()])
    with pytest.raises(SagaMisuse, match="must come after the pivot"):
        ledger.begin([Ship()])


def test_the_pivot_begins_alone(ledger: Ledger) -> None:
    begin(ledger, None)

    with pytest.raises(SagaMisuse, match="await every other step"):
        ledger.begin([Pay()])
    with pytest.raises(SagaMisuse, match="await every other step"):
        Ledger().begin([Hold(), Pay()])


def test_a_group_with_a_mistake_arms_nothing(ledger: Ledger) -> None:
    with pytest.raises(SagaMisuse):
        ledger.begin([Hold(), Ship()])

    assert ledger.steps == []

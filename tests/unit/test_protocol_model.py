"""The model of the saga protocol: every promise holds in a small environment, and breaks without a rule."""

from __future__ import annotations

import pytest

from docs.protocol import story
from docs.protocol.catalogue import CAPTURE, CAPTURE_INSTEAD, CHARGE, CHARGE_FIRST, HOTEL, RESERVE
from docs.protocol.checker import Outcome, Search
from docs.protocol.environments import Environment
from docs.protocol.machine import SagaMachine
from docs.protocol.rules import ALL, RULES
from docs.protocol.state import COMPENSATED, COMPLETED

pytestmark = pytest.mark.unit

ONE_RESET = Environment("one-reset", "", (RESERVE, CAPTURE), resets=1)
OUTSIDE = Environment("outside", "", (HOTEL,))
DECIDES_AGAIN = Environment("decides-again", "", (HOTEL,), conflicts=True)
ANOTHER_PIVOT = Environment("another-pivot", "", (CHARGE_FIRST, CAPTURE_INSTEAD), resets=1, other_way=True)
HANDED_ON = Environment("handed-on", "", (RESERVE, CHARGE), resets=1, hands_on=True)


def _checked(environment: Environment, *without: str) -> Outcome:
    return Search(SagaMachine.of(environment, ALL - set(without))).run()


def test_every_promise_holds_in_every_state_with_one_reset() -> None:
    outcome = _checked(ONE_RESET)
    assert (outcome.found, outcome.exhausted) == (None, True)


@pytest.mark.parametrize("end", [COMPLETED, COMPENSATED])
def test_each_end_is_reached(end: str) -> None:
    class Reached(SagaMachine):
        def broken(self, state: object) -> str:
            return end if getattr(state, "reported", "") == end else ""

    found = Search(Reached.of(ONE_RESET, ALL)).run().found
    assert found is not None


def test_without_epochs_a_command_of_an_earlier_run_lands() -> None:
    found = _checked(ONE_RESET, "epoch.commands").found
    assert found is not None
    assert found.promise == "reported COMPENSATED while ReserveStock is in force"


def test_without_the_duty_of_an_undo_a_late_original_stays() -> None:
    found = _checked(OUTSIDE, "F.duty").found
    assert found is not None
    assert found.promise == "reported COMPENSATED while BookHotel is in force"


def test_a_story_reads_in_numbered_sentences() -> None:
    found = _checked(ONE_RESET, "epoch.commands").found
    assert found is not None
    told = list(story.lines(found, ("ReserveStock", "CapturePayment")))
    assert told[:2] == ["1. run 1 opens, at epoch 1.", "2. run 1 sends ReserveStock (epoch 1)."]
    assert told[-1] == "   So: reported COMPENSATED while ReserveStock is in force."


def test_each_rule_says_where_it_matters() -> None:
    assert [rule.name for rule in RULES if not rule.shown_in] == []


def test_without_the_rule_of_the_other_pivot_both_take_effect() -> None:
    found = _checked(ANOTHER_PIVOT, "A3.others").found
    assert found is not None
    assert found.promise == "ChargeCard and CapturePayment have both taken effect"


def test_a_refusal_behind_an_answer_that_was_not_recorded_proves_nothing() -> None:
    assert _checked(DECIDES_AGAIN).found is None
    found = _checked(DECIDES_AGAIN, "B2.once").found
    assert found is not None
    assert found.promise == "reported COMPENSATED while BookHotel is in force"


def test_a_run_that_goes_on_unopened_does_not_see_a_pivot() -> None:
    found = _checked(HANDED_ON, "epoch.duty").found
    assert found is not None
    assert found.promise == "ReserveStock is undone past the pivot"

"""A person's decision is taken as it was given, or refused: nothing of it is passed over."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from temporalio.exceptions import ApplicationError

from counteract.messages import Outcome
from counteract.saga.answers import UnreadableAnswer
from counteract.saga.children import ChildSaga
from counteract.saga.dispatcher import _undo_of
from counteract.saga.ledger import Ledger, Step
from counteract.saga.resolution import Resolution, _check_what_goes_with, corrected
from tests.travel.bank import Authorize

pytestmark = pytest.mark.unit


def a_step() -> Step:
    ledger = Ledger()
    (step,) = ledger.begin([Authorize(trip="t-1")])
    ledger.settle(step, Outcome.UNKNOWN)
    return step


def decision(**more: object) -> Resolution:
    return Resolution.model_validate({"step": "Authorize", "decision": "retry", "who": "ann", "why": "so", **more})


def test_an_empty_correction_is_one_and_not_the_command_that_was_sent() -> None:
    assert corrected(a_step(), decision()) == Authorize(trip="t-1")
    with pytest.raises(ValidationError):
        corrected(a_step(), decision(command={}))


@pytest.mark.parametrize("said", ["retry", "fail", "skip"])
def test_a_result_that_nothing_goes_on_with_is_refused(said: str) -> None:
    with pytest.raises(ApplicationError, match="Authorize has no use for one"):
        _check_what_goes_with(a_step(), decision(decision=said, result=7), takes_result=False)


def test_what_undoes_a_child_and_is_no_class_here_waits_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("temporalio.workflow.patched", lambda _: True)
    child = ChildSaga(saga_type="Trip", saga_id="trip-1", undo_type="NobodyKnows", undo={})
    ledger = Ledger()
    (step,) = ledger.begin([child])

    with pytest.raises(UnreadableAnswer, match="what undoes it cannot be read"):
        _undo_of(step, child)

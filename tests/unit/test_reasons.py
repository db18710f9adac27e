"""Why something failed is told without what a stranger's exception says, which may be anybody's data."""

from __future__ import annotations

import logging
import traceback
from typing import NoReturn

import psycopg
import pytest
from pydantic import BaseModel

from counteract.errors import StoreError
from counteract.participants.failures import tellable
from counteract.reasons import reason, untold
from counteract.store.postgres.error_texts import objection
from counteract.subscriptions.health import Health

pytestmark = pytest.mark.unit

SECRET = "ann@example.com"  # noqa: S105 - a word to look for


class Answer(BaseModel):
    status: int


def place(guest: str) -> NoReturn:
    raise ValueError(f"cannot place {guest}")


def raised() -> Exception:
    """A chain, each link of which says more than it should."""
    try:
        try:
            place(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        return error


def test_a_strangers_exception_is_told_by_its_type_and_place() -> None:
    told = reason(raised())
    assert told.startswith("KeyError: raised in test_reasons.py, line ")
    assert told.endswith(", in raised")


def test_one_from_a_library_is_told_by_the_place_that_called_it() -> None:
    with pytest.raises(ValueError, match=SECRET) as caught:
        logging.getLogger().setLevel(SECRET)
    assert reason(caught.value).endswith("in test_one_from_a_library_is_told_by_the_place_that_called_it")


def test_an_error_of_the_engines_keeps_its_words() -> None:
    assert reason(StoreError("split it")) == "StoreError: split it"


def test_a_validation_error_names_the_field_and_not_what_was_in_it() -> None:
    with pytest.raises(ValueError, match="status") as caught:
        Answer.model_validate({"status": SECRET})
    told = reason(caught.value)
    assert "Answer is not valid: status: Input should be a valid integer" in told
    assert SECRET not in told


def test_a_traceback_for_a_log_has_the_names_and_places_of_the_whole_chain_and_none_of_its_words() -> None:
    told = "".join(traceback.format_exception(untold(raised())))
    assert SECRET not in told
    for part in ("ValueError", "KeyError", "in place", "in raised", "direct cause"):
        assert part in told


def test_a_database_error_without_a_state_is_not_quoted() -> None:
    assert objection(psycopg.DataError(f"cannot send {SECRET}")) == "said by the driver"


def test_a_handlers_failure_is_told_to_temporal_under_its_own_type() -> None:
    told = tellable(raised(), "Charge")
    assert getattr(told, "type", None) == "KeyError"
    assert SECRET not in "".join(traceback.format_exception(told))


def test_an_error_of_the_engines_is_told_without_the_words_that_led_to_it() -> None:
    error = StoreError("split it")
    error.__cause__ = raised()
    told = tellable(error, "Charge")
    assert told is error
    assert SECRET not in "".join(traceback.format_exception(told))


def test_a_parked_event_is_logged_without_what_it_holds_and_told_in_full_to_whoever_asks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    Health("guests").parked("guest/g-1\nERROR", 7, raised())
    Health("guests").failed(raised())
    assert "KeyError" in caplog.text
    assert "guest/g-1\\u000aERROR is parked" in caplog.text
    assert SECRET not in caplog.text
    caplog.set_level(logging.DEBUG)
    Health("guests").failed(raised())
    assert SECRET in caplog.text

"""What a saga takes along to its next run, and what others take over of it, is read as it was written."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pydantic import ConfigDict

from counteract import Compensatable
from counteract.commands import check_storable, content_of, of_content
from counteract.messages import Outcome
from counteract.saga.continue_as_new import CarriedMore, CarriedStep
from counteract.saga.ledger import Step
from counteract.saga.resolution import Resolution, corrected, replacement


class Parcel(Compensatable[tuple[datetime, bytes]], service="carried parcels", compensation="CallBackParcel"):
    """Strict, and with bytes that JSON has as base64."""

    model_config = ConfigDict(strict=True, ser_json_bytes="base64", val_json_bytes="base64")

    due: datetime
    label: bytes
    sizes: tuple[Decimal, ...]


@pytest.fixture
def parcel() -> Parcel:
    made = Parcel(due=datetime(2026, 1, 2, tzinfo=UTC), label=b"\xff\x00", sizes=(Decimal("1.10"),))
    check_storable(made)
    return made


def test_a_step_comes_through_a_new_run_as_it_was(parcel: Parcel) -> None:
    step = Step("Parcel", parcel, 1, Outcome.APPLIED)

    again = CarriedStep.of(step).step(CarriedMore.of(step))

    assert again.command == parcel


def test_a_command_is_read_from_its_content_as_it_was(parcel: Parcel) -> None:
    assert of_content(Parcel, content_of(parcel)) == parcel


def test_what_a_person_corrects_is_read_as_json(parcel: Parcel) -> None:
    step = Step("Parcel", parcel, 1, Outcome.UNKNOWN)
    said = Resolution(step="Parcel", decision="retry", who="ann", why="late", command=content_of(parcel))

    assert corrected(step, said) == parcel


def test_what_a_person_goes_on_with_is_read_as_json(parcel: Parcel) -> None:
    step = Step("Parcel", parcel, 1, Outcome.UNKNOWN)
    said = Resolution(step="Parcel", decision="skip", who="ann", why="late", result=["2026-01-02T00:00:00Z", "x"])

    assert replacement(step, said) == (datetime(2026, 1, 2, tzinfo=UTC), b"x")

"""What is wrong with an input is told in pydantic's words and never in a validator's, which may quote it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, to_json
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from counteract import Event, Retriable
from counteract.commands import check_storable
from counteract.decoding import Reader
from counteract.errors import InvalidCommand, UnreadableCommand, UnreadableEvent
from counteract.participants.fence import stored_command
from counteract.saga.converter import data_converter
from counteract.storable import Unstorable, invalid, read_back

pytestmark = pytest.mark.unit

SECRET = "ann@example.com"  # noqa: S105 - a word to look for


def refused(value: str) -> str:
    raise ValueError(f"{value!r} is no address")


def asserted(value: str) -> str:
    assert not value, f"{value!r} is no address"
    return value


def refused_by_a_type(value: str) -> str:
    raise PydanticCustomError("no_address", "{value} is no address", {"value": value})


def refused_by_a_type_of_pydantics(value: str) -> str:
    raise PydanticCustomError("int_parsing", "{value} is no number", {"value": value})


class Mail(BaseModel):
    kind: Literal["mail"]


class Phone(BaseModel):
    kind: Literal["phone"]


def wrong(kind: Any, value: Any, *, as_json: bool = False) -> ValidationError:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    with pytest.raises(ValidationError) as caught:
        adapter.validate_json(to_json(value)) if as_json else adapter.validate_python(value)
    return caught.value


@pytest.mark.parametrize("as_json", [False, True], ids=["python", "json"])
@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (Annotated[str, AfterValidator(refused)], SECRET, "value_error"),
        (Annotated[str, AfterValidator(asserted)], SECRET, "assertion_error"),
        (Annotated[str, AfterValidator(refused_by_a_type)], SECRET, "no_address"),
        (Annotated[str, AfterValidator(refused_by_a_type_of_pydantics)], SECRET, "int_parsing"),
        (Annotated[Mail | Phone, Field(discriminator="kind")], {"kind": SECRET}, "union_tag_invalid"),
    ],
    ids=lambda value: value if isinstance(value, str) and value != SECRET else "",
)
def test_what_quotes_the_input_is_told_by_its_type_and_in_full_to_whoever_asks(
    kind: Any, value: Any, told: str, as_json: bool, caplog: pytest.LogCaptureFixture
) -> None:
    error = wrong(kind, value, as_json=as_json)
    caplog.set_level(logging.INFO)
    assert f"input: {told} (what it says is logged at DEBUG)" in invalid(error)
    assert SECRET not in invalid(error) + caplog.text
    caplog.set_level(logging.DEBUG)
    invalid(error)
    assert SECRET in caplog.text


@pytest.mark.parametrize("as_json", [False, True], ids=["python", "json"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, "x"),
        (Decimal, "x"),
        (list[int], 1),
        (dict[str, int], 1),
        (None, 1),
        (timedelta, "x"),
        (Literal["a", "b"], "c"),
        (UUID, "x"),
        (Annotated[Decimal, Field(gt=Decimal("1.5"))], "1.2"),
        (Annotated[date, Field(gt=date(2020, 1, 1))], "2000-01-01"),
        (Annotated[list[int], Field(min_length=2)], [1]),
        (Annotated[str, Field(max_length=2)], "abc"),
        (Annotated[str, Field(pattern="^a$")], "b"),
        (tuple[int, str], [1]),
    ],
)
def test_pydantics_own_words_are_kept(kind: Any, value: Any, as_json: bool) -> None:
    error = wrong(kind, value, as_json=as_json)
    assert all(each["msg"] in invalid(error) for each in error.errors())


@pytest.mark.parametrize("key", [SECRET, "Ann Lee", "+49 30 123", "DE89370400440532013000", "4111-1111-1111-1111"])
def test_a_key_that_is_no_word_is_not_told(key: str) -> None:
    said = invalid(wrong(dict[str, int], {key: "x"}))
    assert "…: Input should be a valid integer" in said
    assert key not in said
    with pytest.raises(Unstorable) as unstorable:
        read_back({key: {1, 2}}, TypeAdapter(dict[str, Any]).validate_json)
    assert key not in str(unstorable.value)


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lines: Mapping[str, list[int]] = {}


def test_names_of_fields_and_indices_are_told() -> None:
    said = invalid(wrong(Order, {"lines": {"first-2": [1, "x"]}, "largerThan": 1}))
    assert "lines.first-2.1: Input should be a valid integer" in said
    assert "largerThan: Extra inputs are not permitted" in said


class Registered(Event):
    email: Annotated[str, AfterValidator(refused)]


class Invite(Retriable[None], service="mistakes"):
    email: Annotated[str, AfterValidator(refused)]


def test_an_event_that_does_not_fit_its_class_is_told_without_it() -> None:
    with pytest.raises(UnreadableEvent, match="email: value_error") as caught:
        Reader(Registered).read(1, f'{{"email": "{SECRET}"}}')
    assert SECRET not in f"{caught.value}{caught.value.problems}"


def test_a_command_that_cannot_be_read_back_is_told_without_it() -> None:
    with pytest.raises(InvalidCommand, match="email: value_error") as caught:
        check_storable(Invite.model_construct(email=SECRET))
    assert SECRET not in str(caught.value)


def test_a_recorded_command_is_told_by_its_fields() -> None:
    with pytest.raises(UnreadableCommand, match=r"\(email\)"):
        stored_command(Invite, {"email": SECRET})


def test_input_that_temporal_brings_is_told_without_it() -> None:
    payloads = data_converter.payload_converter.to_payloads([{"email": SECRET}])
    with pytest.raises(ApplicationError, match="Invite is not valid: email: value_error") as caught:
        data_converter.payload_converter.from_payloads(payloads, [Invite])
    assert SECRET not in f"{caught.value}{caught.value.details}"


def test_a_failure_that_temporal_is_told_has_nothing_of_it_in_any_of_its_causes() -> None:
    class Told(BaseModel):
        model_config = ConfigDict(validation_error_cause=True)

        email: Annotated[str, AfterValidator(refused)]

    failure = Failure()
    error = wrong(Told, {"email": SECRET})
    data_converter.failure_converter.to_failure(error, data_converter.payload_converter, failure)
    assert "email: value_error" in failure.message
    assert SECRET not in str(failure)


def test_whoever_makes_a_command_himself_is_told_all() -> None:
    with pytest.raises(ValidationError, match=SECRET):
        Invite(email=SECRET)

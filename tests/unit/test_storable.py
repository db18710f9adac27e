"""Values that come back from JSON and PostgreSQL as they were, and those that would not."""

from __future__ import annotations

import math
import timeit
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, PrivateAttr

from counteract import Event, Pivot
from counteract.commands import MAX_COMMAND_BYTES, check_storable, command_type, command_types, namesakes, summary_of
from counteract.errors import ConfigurationError, InvalidCommand, InvalidEvent
from counteract.storable import invalid, storable, storable_text
from counteract.store.postgres.append import encode_event

pytestmark = pytest.mark.unit


class Animal(BaseModel):
    name: str


class Dog(Animal):
    chip: str


class Price(BaseModel):
    amount: float


class Colour(Enum):
    RED = "red"


class Plain:
    """Equal to nothing but itself."""

    def __init__(self, text: str) -> None:
        self.text = text


class Remembering(BaseModel):
    text: str
    _seen: int = PrivateAttr(default=0)


@dataclass
class Point:
    x: int


class Carry(Pivot[None], service="storable-tests"):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    anything: Any = None
    animal: Animal | None = None
    price: Price | None = None
    several: Sequence[int] = ()
    named: Mapping[str, Decimal] = {}
    at: datetime | None = None
    colour: Colour | None = None
    point: Point | None = None
    remembering: Remembering | None = None
    id: UUID | None = None
    number: int | float = 0
    rounded: Annotated[Decimal, PlainSerializer(lambda value: f"{value:.2f}")] = Decimal(0)
    plain: (
        Annotated[
            Plain,
            BeforeValidator(lambda value: Plain(value) if isinstance(value, str) else value),
            PlainSerializer(lambda value: value.text),
        ]
        | None
    ) = None


def remembered() -> Remembering:
    made = Remembering(text="a")
    made._seen = 3
    return made


GAP = datetime(2026, 3, 29, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
FINE: list[dict[str, Any]] = [
    {},
    {"anything": {"a": [1, None, 2.5, "\\u0000", "😀"]}},
    {"anything": "NaN and Infinity, as words"},
    {"animal": Animal(name="Rex"), "price": Price(amount=1e22)},
    {"several": (1, 2), "named": {"z": Decimal("0.10"), "a": Decimal(1)}},
    {"several": deque([1, 2])},
    {"at": GAP},
    {"at": datetime(2026, 1, 1)},  # noqa: DTZ001 - naive times come back too
    {"colour": Colour.RED, "point": Point(1), "id": uuid4()},
    {"number": 1e22},
    {"number": -0.0},
    {"rounded": Decimal("1.25")},
    {"remembering": remembered()},
    {"plain": Plain("text")},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"anything": "a\x00b"}, r"holds the character \\u0000"),
    ({"anything": {"a\x00": 1}}, r"holds the character \\u0000"),
    ({"anything": "a\ud800"}, "half a surrogate pair"),
    ({"anything": {"\udfff": 1}}, "half a surrogate pair"),
    ({"anything": [math.nan]}, "anything.0 holds NaN"),
    ({"anything": math.inf}, "anything holds NaN or an infinite number"),
    ({"price": Price(amount=math.nan)}, "price.amount"),
    ({"animal": Dog(name="Rex", chip="7")}, "animal is Dog and comes back as Animal"),
    ({"anything": Dog(name="Rex", chip="7")}, "anything is Dog and comes back as dict"),
    ({"anything": Decimal("1.10")}, "anything is Decimal and comes back as str"),
    ({"anything": {1: "a"}}, "anything comes back with other keys"),
    ({"anything": b"\xff"}, "bytes that are no UTF-8"),
    ({"anything": object()}, "is not JSON"),
    ({"anything": 10**5000}, "could not be read back"),
    ({"rounded": Decimal("1.005")}, "rounded comes back as another Decimal"),
    ({"anything": "x" * (MAX_COMMAND_BYTES + 1)}, "more than 2000000"),
]


@pytest.mark.parametrize("fields", FINE)
def test_a_command_that_comes_back_as_it_was_is_sent(fields: dict[str, Any]) -> None:
    check_storable(Carry(**fields))


@pytest.mark.parametrize(("fields", "why"), REFUSED)
def test_a_command_that_would_not_come_back_is_refused_with_the_field(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidCommand, match=f"^Carry cannot be sent: .*{why}"):
        check_storable(Carry(**fields))


def test_a_command_that_was_made_without_validation_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="several"):
        check_storable(Carry(**{}).model_copy(update={"several": "no numbers"}))


def test_a_refusal_to_send_does_not_quote_the_value() -> None:
    with pytest.raises(InvalidCommand) as refused:
        check_storable(Carry(anything={"card": "4111\x00"}))

    assert "4111" not in str(refused.value)


def test_the_check_of_a_small_command_takes_microseconds() -> None:
    command = Carry(animal=Animal(name="Rex"), id=UUID(int=1), at=datetime(2026, 1, 1, tzinfo=UTC))

    took = min(timeit.repeat(lambda: check_storable(command), number=200, repeat=5)) / 200

    assert took < 500e-6, f"{took * 1e6:.0f} µs; 20 on an idle machine"


class Kept(Event):
    animal: Animal | None = None
    anything: Any = None


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Kept(animal=Dog(name="Rex", chip="7")), "Kept v1 animal is Dog and comes back as Animal"),
        (Kept(anything=date(2026, 1, 1)), "Kept v1 anything is date and comes back as str"),
        (Kept.model_construct(animal="Rex"), "Kept v1 could not be read back"),  # type: ignore[arg-type]
    ],
)
def test_an_event_that_would_not_come_back_is_refused_with_the_field(event: Event, why: str) -> None:
    with pytest.raises(InvalidEvent, match=why):
        encode_event(event)


def test_a_fact_is_put_in_words_where_it_is_no_json() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError

    facts = {
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "took": timedelta(seconds=1),
        "share": math.nan,
        "of": {"b"},
        "who": Silent(),
    }

    assert storable(facts | {"a\x00": "\ud800"}) == {
        "at": "2026-01-01T00:00:00Z",
        "took": "PT1S",
        "share": "NaN",
        "of": ["b"],
        "who": "<Silent>",
        "a\N{REPLACEMENT CHARACTER}": "\N{REPLACEMENT CHARACTER}",
    }


def test_facts_without_end_are_cut() -> None:
    round_about: list[Any] = []
    round_about.append(round_about)

    assert "[" in str(storable(round_about))
    assert storable(10**5000) == "<int>"
    assert len(storable_text("x" * 10_000)) == 4001


def test_a_validation_error_is_said_without_what_was_in_the_fields() -> None:
    with pytest.raises(ValueError, match="secret") as wrong:
        Price.model_validate({"amount": "secret"})

    assert invalid(wrong.value) == (  # type: ignore[arg-type]
        "Price is not valid: amount: Input should be a valid number, unable to parse string as a number"
    )


def test_a_summary_is_cut_to_what_the_server_takes() -> None:
    class Told(Pivot[None], service="storable-tests"):
        def summary(self) -> str:
            return '\x00"é' * 300

    summary = summary_of(Told())

    assert summary is not None
    assert 100 < len(summary.encode()) <= 200


def test_commands_of_one_name_in_two_services_are_told_apart() -> None:
    def booking(service: str) -> type[Pivot[None]]:
        class Book(Pivot[None], service=service):
            pass

        return Book

    hotel, flight = booking("storable-hotels"), booking("storable-flights")

    assert command_type("Book", "storable-hotels") is hotel
    assert command_type("Book", "storable-flights") is flight
    with pytest.raises(ConfigurationError, match="commands are called Book, and it is not known which is meant"):
        command_type("Book")
    with pytest.raises(ConfigurationError, match="no command Bok is known here"):
        command_type("Bok")
    assert command_types()["storable-hotels", "Book"] is hotel


def test_a_command_whose_service_was_renamed_is_found_by_its_name() -> None:
    assert command_type("Carry", "the name before") is Carry


@pytest.mark.usefixtures("forgotten")
def test_two_commands_of_one_name_in_one_service_are_namesakes() -> None:
    class Mine:
        class Lend(Pivot[None], service="storable-library"):
            pass

    class Yours:
        class Lend(Pivot[None], service="storable-library"):
            pass

    classes = Mine.Lend, Yours.Lend
    (problem,) = namesakes([each.spec.service for each in classes[:1]])

    assert "Mine.Lend and " in problem
    assert "are both Lend of the service 'storable-library': rename one" in problem

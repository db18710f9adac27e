"""Each rule of compatibility, once kept and once broken; `tests/property/test_contracts.py` tries what nobody thought of."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, create_model

from counteract import Event
from counteract.store.contracts.compatibility import Narrowing, changed_defaults, narrowings
from counteract.store.contracts.json_schema import readable_schema
from counteract.store.contracts.published import contract_of

pytestmark = pytest.mark.unit


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class MoreColour(StrEnum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"


class Line(Strict):
    product: str
    quantity: int


class LineWithNote(Strict):
    product: str
    quantity: int
    note: str = ""


class LineWithUnit(Strict):
    product: str
    quantity: int
    unit: str


class LooseLine(BaseModel):
    """It would not mind a field more, but never writes one."""

    product: str
    quantity: int


class LooseProduct(BaseModel):
    product: str


class OpenLine(BaseModel):
    model_config = ConfigDict(extra="allow")
    product: str


class OpenLineWithNote(BaseModel):
    model_config = ConfigDict(extra="allow")
    product: str
    note: str = ""


class Tree(Strict):
    value: int
    children: list[Tree] = []


class TreeWithNote(Strict):
    value: int
    note: str | None = None
    children: list[TreeWithNote] = []


class TreeOfWords(Strict):
    value: str
    children: list[TreeOfWords] = []


class Card(Strict):
    kind: Literal["card"] = "card"
    token: str


class Transfer(Strict):
    kind: Literal["transfer"] = "transfer"
    account: str


class NumberedTransfer(Strict):
    kind: Literal["transfer"] = "transfer"
    account: int


class Voucher(Strict):
    kind: Literal["voucher"] = "voucher"
    code: str


Tagged = Annotated[Card | Transfer, Field(discriminator="kind")]
TaggedMore = Annotated[Card | Transfer | Voucher, Field(discriminator="kind")]
TaggedCard = Annotated[Card | Voucher, Field(discriminator="kind")] | int
TaggedOther = Annotated[Card | NumberedTransfer, Field(discriminator="kind")]
Small = Annotated[int, Field(ge=1, le=10)]
Bigger = Annotated[int, Field(ge=0, le=20)]


def event_with(**fields: Any) -> type[Event]:
    made: type[Event] = create_model("Happened", __base__=Event, **fields)
    return made


def between(before: Any, after: Any) -> list[Narrowing]:
    """Of an event whose one field changes its type."""
    contracts = [contract_of(event_with(field=(each, ...))) for each in (before, after)]
    return list(narrowings(*contracts))


WIDER = [
    ("a field that may be missing", Line, LineWithNote),
    ("null", int, int | None),
    ("another type", int, int | str),
    ("whole numbers as numbers", int, float),
    ("bounds further apart", Small, Bigger),
    ("bounds gone", Small, int),
    ("an open bound for the same closed one", Annotated[int, Field(gt=0)], Annotated[int, Field(ge=1)]),
    ("longer text", Annotated[str, Field(max_length=3)], Annotated[str, Field(max_length=4)]),
    ("any text", Annotated[str, Field(pattern="^a+$")], str),
    ("one more choice", Colour, MoreColour),
    ("any text for choices", Colour, str),
    ("choices as an enumeration", Literal["red"], Colour),
    ("ids as text", UUID, str),
    ("times as text", datetime, str),
    ("times with an offset as any", AwareDatetime, datetime),
    ("another item too", list[int], list[int | None]),
    ("a fixed number of items as any", tuple[int, int], list[int]),
    ("a set as a list", set[int], list[int]),
    ("more items", Annotated[list[int], Field(max_length=2)], list[int]),
    ("more keys", dict[Colour, int], dict[MoreColour, int]),
    ("numbers as keys of any kind", dict[int, int], dict[str, int]),
    ("a field more in a recursive part", Tree, TreeWithNote),
    ("one more tagged part", Tagged, TaggedMore),
    ("a tagged part among others", Tagged, Card | Transfer),
    ("a part that minds no more fields", Line, LooseLine),
    ("a part that would not have minded", LooseLine, Line),
    ("anything", Line, Any),
]
NARROWER = [
    ("a field that must be there", Line, LineWithUnit, "$.field.unit", "absent", "required, string"),
    ("a field gone", LineWithNote, Line, "$.field.note", "string", "absent"),
    ("a field gone that nobody minds", LooseLine, LooseProduct, "$.field.quantity", "integer", "absent"),
    ("no null", int | None, int, "$.field", "integer or null", "integer"),
    ("another type", int, str, "$.field", "integer", "string"),
    ("whole numbers only", float, int, "$.field", "number", "integer"),
    ("closer bounds", Bigger, Small, "$.field", "integer, at least 0, at most 20", "integer, at least 1, at most 10"),
    ("shorter text", str, Annotated[str, Field(max_length=4)], "$.field", "string", "string, at most 4 long"),
    ("text that matches", str, Annotated[str, Field(pattern="^a$")], "$.field", "string", "string, matching ^a$"),
    ("a choice gone", MoreColour, Colour, "$.field", 'one of "red", "blue", "green"', 'one of "red", "blue"'),
    ("ids only", str, UUID, "$.field", "string", "string, in the format uuid"),
    ("dates only", datetime, date, "$.field", "string, in the format date-time", "string, in the format date"),
    ("other items", list[int], list[str], "$.field[*]", "integer", "string"),
    ("another item in its place", tuple[int, int], tuple[int, str], "$.field[1]", "integer", "string"),
    ("without repeats", list[int], set[int], "$.field", "array", "array, without repeats"),
    ("fewer keys", dict[MoreColour, int], dict[Colour, int], "$.field.* (name)", None, 'one of "red", "blue"'),
    ("numbers as keys", dict[str, int], dict[int, int], "$.field.* (name)", "anything", r"anything, matching ^-?\d+$"),
    ("other values", dict[str, int], dict[str, str], "$.field.*", "integer", "string"),
    ("deep in a recursive part", Tree, TreeOfWords, "$.field.value", "integer", "string"),
    ("a tagged part gone", TaggedMore, Tagged, "$.field", "Card or Transfer or Voucher", "Card or Transfer"),
    ("another tag", Card, Voucher | Transfer, "$.field", 'object with kind "card"', "Voucher or Transfer"),
    ("a tag that must be there", Card | int, TaggedCard, "$.field.kind", 'optional, "card"', 'required, "card"'),
    ("deep in a tagged part", Tagged, TaggedOther, "$.field.account", "string", "integer"),
    ("a part in a list", list[LineWithNote], list[Line], "$.field[*].note", "string", "absent"),
    ("a name that was free", OpenLine, OpenLineWithNote, "$.field.note", "anything", "string"),
    ("not just anything", Any, int, "$.field", "anything", "integer"),
]


@pytest.mark.parametrize(("before", "after"), [pytest.param(*each[1:], id=each[0]) for each in WIDER])
def test_what_only_widens_is_compatible(before: Any, after: Any) -> None:
    assert between(before, after) == []


@pytest.mark.parametrize(
    ("before", "after", "path", "was", "now"), [pytest.param(*each[1:], id=each[0]) for each in NARROWER]
)
def test_what_narrows_is_refused_with_place_and_reason(
    before: Any, after: Any, path: str, was: str | None, now: str | None
) -> None:
    found = {each.path: each for each in between(before, after)}

    assert path in found
    assert was is None or found[path].was == was
    assert now is None or found[path].now == now


def test_a_renamed_field_is_one_gone_and_one_that_must_be_there() -> None:
    before, after = event_with(name=(str, ...)), event_with(title=(str, ...))

    assert narrowings(contract_of(before), contract_of(after)) == [
        Narrowing("$.title", was="absent", now="required, string"),
        Narrowing("$.name", was="string", now="absent"),
    ]


def test_only_the_part_that_changed_is_named() -> None:
    before = event_with(id=(int, ...), lines=(list[Line], ...))
    after = event_with(id=(int, ...), lines=(list[LineWithUnit], ...))

    assert [each.path for each in narrowings(contract_of(before), contract_of(after))] == ["$.lines[*].unit"]


def test_a_field_called_as_a_word_of_schemas_is_a_field() -> None:
    before = event_with(title=(str, ...), required=(int, ...), default=(int, ...))
    after = event_with(title=(int, ...), required=(str, ...), default=(str, ...))

    paths = {each.path for each in narrowings(contract_of(before), contract_of(after))}
    assert paths == {"$.title", "$.required", "$.default"}


def test_a_true_that_becomes_a_one_is_another_value() -> None:
    assert between(Literal[True], Literal[1])


def test_a_changed_default_is_compatible_and_named() -> None:
    before, after = (event_with(lines=(int, default)) for default in (1, 2))

    assert narrowings(contract_of(before), contract_of(after)) == []
    assert changed_defaults(contract_of(before), contract_of(after)) == [
        Narrowing("$.lines", was="by default 1", now="by default 2")
    ]


def test_names_docstrings_and_the_order_of_fields_are_no_part_of_a_contract() -> None:
    class Happened(Event):
        """One way to put it."""

        one: int = Field(title="One", description="The first.")
        two: list[Line]

    assert contract_of(Happened) == contract_of(event_with(two=(list[Line], ...), one=(int, ...)))


class Phrased(Event):
    payload: Annotated[dict[str, int], PlainSerializer(str, return_type=str)]


def test_a_class_that_writes_what_it_does_not_read_is_found() -> None:
    assert "$.payload" in {each.path for each in narrowings(contract_of(Phrased), readable_schema(Phrased))}


@pytest.mark.parametrize("type_", [Decimal, datetime, UUID, bytes, Tagged, Tree, set[int], dict[int, Line], LooseLine])
def test_an_ordinary_class_reads_what_it_writes(type_: Any) -> None:
    event_class = event_with(field=(type_, ...))

    assert narrowings(contract_of(event_class), readable_schema(event_class)) == []

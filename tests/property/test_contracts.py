"""What the comparison of contracts calls compatible is, for any two classes and any document of the first."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import GenericAlias
from typing import Annotated, Any, Literal

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, create_model

from counteract import Event
from counteract.store.contracts.compatibility import narrowings
from counteract.store.contracts.json_schema import readable_schema
from counteract.store.contracts.published import contract_of
from tests.documents import documents

pytestmark = [pytest.mark.property, pytest.mark.long]

NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Number:
    """Between two bounds, where there are any."""

    least: int | None = None
    most: int | None = None

    def annotation(self) -> Any:
        return Annotated[int, Field(ge=self.least, le=self.most)]


@dataclass(frozen=True)
class Text:
    """As long as `most`."""

    most: int | None = None

    def annotation(self) -> Any:
        return Annotated[str, Field(max_length=self.most)]


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def annotation(self) -> Any:
        return Literal[self.words]


@dataclass(frozen=True)
class Simple:
    """A type as it is."""

    type: Any

    def annotation(self) -> Any:
        return self.type


@dataclass(frozen=True)
class Many:
    """A list, or what has keys of a type."""

    item: Kind
    keys: Any = None

    def annotation(self) -> Any:
        item = self.item.annotation()
        return GenericAlias(dict, (self.keys, item)) if self.keys else GenericAlias(list, item)


@dataclass(frozen=True)
class Pair:
    """Two items."""

    first: Kind
    second: Kind

    def annotation(self) -> Any:
        return GenericAlias(tuple, (self.first.annotation(), self.second.annotation()))


@dataclass(frozen=True)
class Either:
    """One or the other."""

    one: Kind
    other: Kind

    def annotation(self) -> Any:
        return self.one.annotation() | self.other.annotation()


@dataclass(frozen=True)
class Part:
    """Fields, each required or not."""

    fields: tuple[tuple[str, Kind, bool], ...]
    strict: bool = True

    def annotation(self) -> Any:
        config = ConfigDict(extra="forbid" if self.strict else "ignore")
        return create_model("Part", __config__=config, **definitions(self))


Kind = Number | Text | Choice | Simple | Many | Pair | Either | Part


def definitions(part: Part) -> dict[str, Any]:
    return {name: (kind.annotation(), ... if required else None) for name, kind, required in part.fields}


def event_of(part: Part) -> type[Event]:
    made: type[Event] = create_model("Happened", __base__=Event, **definitions(part))
    return made


bounds = st.none() | st.integers(0, 3)
words = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple)
leaves = st.one_of(
    st.builds(Number, bounds, st.none() | st.integers(4, 6)),
    st.builds(Text, bounds),
    st.builds(Choice, words),
    st.builds(Simple, st.sampled_from([bool, float, int, str, type(None)])),
)


def parts(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[Part]:
    fields = st.lists(
        st.tuples(st.sampled_from(NAMES), kinds, st.booleans()), max_size=3, unique_by=lambda each: each[0]
    )
    return st.builds(Part, fields.map(tuple), st.booleans())


def composed(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    keys = words.map(lambda each: Literal[each])
    return st.one_of(
        st.builds(Many, kinds, st.none() | st.sampled_from([str, int]) | keys),
        st.builds(Pair, kinds, kinds),
        st.builds(Either, kinds, kinds),
        parts(kinds),
    )


kinds: st.SearchStrategy[Kind] = st.recursive(leaves, composed, max_leaves=4)
events = parts(kinds)


@st.composite
def changed(draw: st.DrawFn, kind: Kind) -> Any:
    """Much like it: most of the time only something inside is another."""
    how = draw(st.sampled_from(["as it is", "inside", "inside", "more", "another"]))
    if how == "another":
        return draw(leaves)
    if how == "more":
        return Either(kind, draw(leaves))
    return draw(changed_inside(kind)) if how == "inside" else kind


def changed_inside(kind: Kind) -> st.SearchStrategy[Kind]:
    match kind:
        case Number() | Text() | Choice():
            return leaves.filter(lambda other: type(other) is type(kind))
        case Many():
            return changed(kind.item).map(lambda item: replace(kind, item=item))
        case Pair():
            return st.builds(Pair, changed(kind.first), changed(kind.second))
        case Either():
            return st.builds(Either, changed(kind.one), changed(kind.other))
        case Part():
            return changed_part(kind)
        case Simple():
            return st.just(kind)


@st.composite
def changed_part(draw: st.DrawFn, part: Part) -> Part:
    kept = [each for each in part.fields if draw(st.integers(0, 5))]
    fields = [(name, draw(changed(kind)), required and draw(st.booleans())) for name, kind, required in kept]
    free = [name for name in NAMES if name not in {name for name, _, _ in part.fields}]
    added = draw(st.lists(st.tuples(st.sampled_from(free), leaves, st.booleans()), max_size=1)) if free else []
    return Part((*fields, *added), draw(st.booleans()))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_every_document_of_a_compatible_contract_is_read_by_the_changed_class(data: st.DataObject) -> None:
    part = data.draw(events)
    published = contract_of(event_of(part))
    today = event_of(data.draw(changed_part(part)))
    breaking = narrowings(published, contract_of(today)) or narrowings(contract_of(today), readable_schema(today))
    event("refused" if breaking else "compatible")
    if not breaking:
        document = data.draw(documents(published))
        today.model_validate_json(json.dumps(document))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_class_reads_every_document_of_its_own_contract(data: st.DataObject) -> None:
    today = event_of(data.draw(events))
    assert not narrowings(contract_of(today), contract_of(today))
    today.model_validate_json(json.dumps(data.draw(documents(contract_of(today)))))


@settings(max_examples=200, deadline=None)
@given(events, leaves)
def test_one_more_optional_field_is_compatible_with_anything(part: Part, more: Kind) -> None:
    wider = replace(part, fields=(*part.fields, ("more", more, False)))
    assert not narrowings(contract_of(event_of(part)), contract_of(event_of(wider)))


@settings(max_examples=200, deadline=None)
@given(events, leaves)
def test_one_more_choice_is_compatible_with_anything(part: Part, more: Kind) -> None:
    wider = replace(part, fields=tuple((name, Either(kind, more), required) for name, kind, required in part.fields))
    assert not narrowings(contract_of(event_of(part)), contract_of(event_of(wider)))


def test_documents_are_refused_where_they_cannot_be_made() -> None:
    with pytest.raises(NotImplementedError, match="patternProperties"):
        documents({"type": "object", "patternProperties": {}})

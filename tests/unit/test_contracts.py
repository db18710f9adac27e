"""The published contracts of a folder against classes of today."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

from counteract import Event
from counteract.errors import ConfigurationError
from counteract.lifecycle import sagas
from counteract.store.contracts.compatibility import Narrowing
from counteract.store.contracts.published import (
    ENGINE_CONTRACTS,
    Effect,
    Key,
    Problem,
    check,
    contract_of,
    differences,
    key_of,
    publish,
    published_in,
)

pytestmark = pytest.mark.unit


def event_class(name: str = "Weighed", version: int = 1, **fields: Any) -> type[Event]:
    upcasters = {each: lambda data: data for each in range(1, version)}
    made: type[Event] = create_model(
        "Weighed", __base__=Event, __cls_kwargs__={"name": name, "version": version, "upcasters": upcasters}, **fields
    )
    return made


GRAMS = event_class(grams=(int, ...))
WITH_NOTE = event_class(grams=(int, ...), note=(str, ""))
KILOGRAMS = event_class(kilograms=(float, ...))
VERSION_2 = event_class(version=2, kilograms=(float, ...))


def published(folder: Path, *classes: type[Event]) -> Path:
    _, problems = publish(classes, folder)
    assert not problems
    return folder


def problems_of(classes: Sequence[type[Event]], folder: Path) -> Sequence[Problem]:
    return check(classes, published_in(folder))


def files_in(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


def test_published_contracts_of_the_same_classes_are_kept(tmp_path: Path) -> None:
    assert problems_of([GRAMS], published(tmp_path, GRAMS)) == []


def test_a_contract_is_a_file_of_its_own_and_a_json_schema(tmp_path: Path) -> None:
    [name] = files_in(published(tmp_path / "contracts", GRAMS))

    assert name == "Weighed.v1.json"
    assert json.loads((tmp_path / "contracts" / name).read_bytes()) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Weighed v1",
        "type": "object",
        "properties": {"grams": {"type": "integer"}},
        "required": ["grams"],
        "additionalProperties": False,
    }


def test_publishing_again_writes_nothing(tmp_path: Path) -> None:
    published(tmp_path, GRAMS)

    assert publish([GRAMS], tmp_path) == ([], ())


@pytest.mark.parametrize("name", ["orders/Weighed", "wägung v1", "../up", "%2F"])
def test_an_event_may_be_called_anything(tmp_path: Path, name: str) -> None:
    published(tmp_path, event_class(name))

    assert [*published_in(tmp_path)] == [Key(name, 1)]
    assert [file.parent for file in tmp_path.rglob("*.json")] == [tmp_path]


def test_an_event_that_is_not_published_is_told_how_to(tmp_path: Path) -> None:
    [problem] = problems_of([GRAMS], tmp_path)

    assert (problem.key, problem.what) == (Key("Weighed", 1), "it is not published")
    assert problem.remedy == "run `counteract contracts publish`"


def test_a_change_that_breaks_names_the_place_and_the_next_version(tmp_path: Path) -> None:
    [problem] = problems_of([KILOGRAMS], published(tmp_path, GRAMS))

    assert problem.what == "what may be stored no longer fits"
    assert problem.narrowings == [
        Narrowing("$.kilograms", was="absent", now="required, number"),
        Narrowing("$.grams", was="integer", now="absent"),
    ]
    assert problem.remedy == (
        "declare version 2 and an upcaster: class Weighed(Event, version=2, upcasters={1: …}). "
        "Only if none was ever stored: delete Weighed.v1.json and publish again"
    )


def test_the_next_version_keeps_the_upcasters_and_the_stored_name(tmp_path: Path) -> None:
    published(tmp_path, event_class("weight", grams=(int, ...)))
    published(tmp_path, event_class("weight", 2, grams=(float, ...)))

    [problem] = problems_of([event_class("weight", 2, grams=(str, ...))], tmp_path)

    assert 'class Weighed(Event, name="weight", version=3, upcasters={1: …, 2: …})' in problem.remedy


def test_publish_leaves_everything_as_it_was_where_something_would_break(tmp_path: Path) -> None:
    before = files_in(published(tmp_path, GRAMS))

    written, problems = publish([KILOGRAMS, event_class("Other")], tmp_path)

    assert (written, [each.key for each in problems]) == ((), [Key("Weighed", 1)])
    assert files_in(tmp_path) == before


def test_a_compatible_change_must_be_published_too(tmp_path: Path) -> None:
    [problem] = problems_of([WITH_NOTE], published(tmp_path, GRAMS))

    assert problem.what == "it has changed, compatibly, and is not published"
    assert publish([WITH_NOTE], tmp_path) == ([Key("Weighed", 1)], ())
    assert problems_of([WITH_NOTE], tmp_path) == []


def test_what_was_published_in_between_counts(tmp_path: Path) -> None:
    published(tmp_path, GRAMS)
    published(tmp_path, WITH_NOTE)

    assert [each.path for each in problems_of([GRAMS], tmp_path)[0].narrowings] == ["$.note"]


def test_an_older_version_that_an_upcaster_reads_keeps_its_contract(tmp_path: Path) -> None:
    before = files_in(published(tmp_path, GRAMS))

    assert publish([VERSION_2], tmp_path) == ([Key("Weighed", 2)], ())
    assert problems_of([VERSION_2], tmp_path) == []
    assert files_in(tmp_path)["Weighed.v1.json"] == before["Weighed.v1.json"]


def test_an_older_version_whose_contract_is_gone_is_missed(tmp_path: Path) -> None:
    published(tmp_path, GRAMS)
    published(tmp_path, VERSION_2)
    (tmp_path / "Weighed.v1.json").unlink()

    [problem] = problems_of([VERSION_2], tmp_path)

    assert (problem.key, problem.what) == (Key("Weighed", 1), "an upcaster reads it, but it is not published")


@pytest.mark.parametrize(
    ("classes", "remedy"),
    [
        ([event_class("Other")], "keep its class, for what is stored stays stored"),
        ([event_class("Other"), GRAMS], "bring back the class of v2: this code is older than what it may find"),
    ],
)
def test_a_contract_that_nobody_reads_any_more_is_named(
    tmp_path: Path, classes: Sequence[type[Event]], remedy: str
) -> None:
    published(tmp_path, event_class("Other"))
    (tmp_path / "Weighed.v2.json").write_text("{}")
    if GRAMS in classes:
        (tmp_path / "Weighed.v1.json").write_text(json.dumps(contract_of(GRAMS)))

    [problem] = problems_of(classes, tmp_path)

    assert (problem.key, problem.what) == (Key("Weighed", 2), "no class reads it any more")
    assert problem.remedy == f"{remedy}. Only if none was ever stored: delete Weighed.v2.json"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("Weighed.json", "{}", "its name is not <EventType>.v<N>.json"),
        ("Weighed.v1.json", "<<<<<<< ours", "Expecting value"),
        ("Weighed.v1.json", "[]", "it holds no JSON Schema"),
        ("Weighed.v1.json", '{"type": "weight"}', "weight"),
        ("Weighed.v1.json", '{"properties": {"a": {"$ref": "#/$defs/A"}}}', "A"),
    ],
)
def test_a_file_that_is_no_contract_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        published_in(tmp_path)
    [problem] = caught.value.problems
    assert problem.startswith(f"{name}: ")
    assert said in problem


def test_two_classes_of_one_name_and_version_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="both read what is stored as Weighed v1"):
        check([GRAMS, KILOGRAMS], {})


def test_differences_say_what_they_do_to_what_is_stored(tmp_path: Path) -> None:
    published(tmp_path, event_class(grams=(int, ...), unit=(str, "g"), scale=(int, ...)))
    today = event_class(grams=(str, ...), unit=(str, "kg"), note=(str, ""), scale=(int | None, ...))

    found = differences([today], published_in(tmp_path))

    assert [(each.effect, each.place.path, each.place.was, each.place.now) for each in found] == [
        (Effect.BREAKS, "$.grams", "integer", "string"),
        (Effect.WIDENS, "$.note", "absent", "string"),
        (Effect.WIDENS, "$.scale", "integer", "integer or null"),
        (Effect.REINTERPRETS, "$.unit", 'by default "g"', 'by default "kg"'),
    ]


def test_the_engines_own_events_keep_their_contracts() -> None:
    assert check(sagas.event_classes, published_in(ENGINE_CONTRACTS)) == []


def test_a_key_says_its_name_and_version() -> None:
    assert str(key_of(GRAMS)) == "Weighed v1"

"""What a replay calls a difference between what was sent and what would be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python

from counteract.testing.unordered import changes, with_sets

pytestmark = pytest.mark.unit


class Line(BaseModel):
    """Named differently as JSON."""

    tags: frozenset[str] = Field(serialization_alias="labels")


@dataclass(frozen=True)
class Parcel:
    """Holds sets at several depths."""

    lines: list[Line]
    routes: frozenset[frozenset[int]]
    by_day: dict[int, set[str]]
    order: tuple[int, ...] = (1, 2)


NOW = Parcel([Line(tags=frozenset("abc"))], frozenset({frozenset({1, 2}), frozenset({3})}), {1: {"x", "y"}})


def differences(before: Any) -> list[str]:
    plain = to_jsonable_python(NOW, by_alias=True)
    return list(changes("it", before, with_sets(NOW, plain)))


def sent(**changed: Any) -> dict[str, Any]:
    recorded = {
        "lines": [{"labels": ["c", "a", "b"]}],
        "routes": [[3], [2, 1]],
        "by_day": {"1": ["y", "x"]},
        "order": [1, 2],
    }
    return recorded | changed


def test_sets_in_models_in_mappings_and_in_sets_have_no_order() -> None:
    assert differences(sent()) == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"order": [2, 1]}, "it.order[0] was 2 when recorded, and would now be 1"),
        (
            {"lines": [{"labels": ["a", "b"]}]},
            'it.lines[0].labels was ["a", "b"] when recorded, and would now be ["a", ',
        ),
        ({"routes": [[3], [2, 4]]}, "it.routes was [[2, 4], [3]] when recorded, and would now be [[1, 2], [3]]"),
        ({"by_day": {"1": ["x", "x"]}}, 'it.by_day.1 was ["x", "x"] when recorded, and would now be ["x", "y"]'),
        ({"by_day": {"2": ["x", "y"]}}, 'it.by_day.1 was null when recorded, and would now be ["'),
        ({"lines": []}, "it.lines was [] when recorded, and would now be [{"),
    ],
)
def test_another_content_is_a_difference(changed: dict[str, Any], what: str) -> None:
    assert differences(sent(**changed))[0].startswith(what)

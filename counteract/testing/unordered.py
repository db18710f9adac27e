"""JSON values in which sets are known as such, since the order of a set's elements differs between processes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel


class Unordered(list[Any]):
    """The JSON of a set's elements."""


def with_sets(value: object, plain: Any) -> Any:
    """`plain`, which is the JSON of `value`, with an Unordered wherever `value` has a set."""
    match value, plain:
        case ((set() | frozenset()), list()):
            return Unordered(map(with_sets, value, plain))
        case ((list() | tuple()), list()):
            return list(map(with_sets, value, plain))
        case dict(), dict():
            # By place: as JSON, keys are text.
            return dict(zip(plain, map(with_sets, value.values(), plain.values()), strict=False)) or plain
        case BaseModel() | object(__dataclass_fields__=_), dict():
            return plain | {name: with_sets(field, plain[name]) for name, field in _fields(value) if name in plain}
    return plain


def changes(where: str, before: Any, now: Any) -> Iterator[str]:
    """The differences between two JSON values, each place with both; `now` may have Unordered in it."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from changes(f"{where}.{name}", before.get(name), now.get(name))
    elif isinstance(before, list) and isinstance(now, Unordered):
        before, now = _sorted(before, now), _sorted(now, now)
        if before != now:
            yield _change(where, before, now)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for n, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from changes(f"{where}[{n}]", old, new)
    elif before != now:
        yield _change(where, before, now)


def _fields(value: object) -> Iterator[tuple[str, object]]:
    """The fields' values, with the names that they may have as JSON."""
    if isinstance(value, BaseModel):
        for name, about in type(value).model_fields.items():
            yield from ((each, getattr(value, name)) for each in {name, about.serialization_alias or name})
        yield from (value.model_extra or {}).items()
    elif dataclasses.is_dataclass(value):
        yield from ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))


def _sorted(elements: list[Any], like: Unordered) -> list[Any]:
    """The elements in an order that depends on them alone; so are those of sets within the set."""
    if any(isinstance(each, Unordered) for each in like):
        inner = Unordered(element for each in like if isinstance(each, Unordered) for element in each)
        elements = [_sorted(each, inner) if isinstance(each, list) else each for each in elements]
    return sorted(elements, key=lambda each: json.dumps(each, sort_keys=True))


def _change(where: str, before: Any, now: Any) -> str:
    return f"{where} was {json.dumps(before)} when recorded, and would now be {json.dumps(now)}"

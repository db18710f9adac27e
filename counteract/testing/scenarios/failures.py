"""The messages of failed examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import ndiff
from pprint import pformat
from typing import Any

from pydantic import BaseModel

_WIDTH = 100
_INDENT = "    "


def explained(what: str, story: Mapping[str, Iterable[Any]], expected: Sequence[Any], actual: Sequence[Any]) -> str:
    """A message with what went wrong, the example's story, and the difference, line by line."""
    difference = ndiff(_all_lines(expected), _all_lines(actual))
    return "\n".join(
        [what, *_told(story), "difference (- expected, + actual):", *_indented(map(str.rstrip, difference))]
    )


def told(what: str, story: Mapping[str, Iterable[Any]]) -> str:
    """A message with what went wrong, and the example's story."""
    return "\n".join([what, *_told(story)])


def _told(story: Mapping[str, Iterable[Any]]) -> Iterable[str]:
    for name, values in story.items():
        yield f"{name}:"
        yield from _indented(_all_lines(list(values)))


def _all_lines(values: Sequence[Any]) -> Sequence[str]:
    return [line for value in values for line in _lines_of(value)] or ["(nothing)"]


def _indented(lines: Iterable[str]) -> Iterable[str]:
    return (_INDENT + line for line in lines)


def _lines_of(value: Any) -> Sequence[str]:
    """The value as text: on one line where that is short; else a field a line, so that a difference shows the field."""
    if isinstance(value, str):
        return value.splitlines()
    text = value.__name__ + "(…)" if isinstance(value, type) else repr(value)
    if len(text) <= _WIDTH and "\n" not in text:
        return [text]
    if isinstance(value, BaseModel):
        fields = [f"{_INDENT}{name}={getattr(value, name)!r}," for name in type(value).model_fields]
        return [f"{type(value).__name__}(", *fields, ")"]
    return pformat(value, width=_WIDTH, sort_dicts=True).splitlines()

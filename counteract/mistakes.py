"""Mistakes that pydantic finds in an input, in words that do not quote it: errors outlive the key of sealed data."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticKnownError

_logger = logging.getLogger("counteract.mistakes")

# These repeat what an exception says, or a part of the input.
_QUOTING = {
    "assertion_error",
    "datetime_object_invalid",
    "get_attribute_error",
    "iteration_error",
    "mapping_type",
    "union_tag_invalid",
    "value_error",
}
_IN_JSON = {
    "Arguments must be an array or an object",
    "Input should be a valid array",
    "Input should be an array or an object",
    "Input should be an object",
    "Input should be null",
}
"""Where the input was JSON, pydantic says this instead."""
# A name of a field, or a marker of pydantic's. A key of a dictionary may be anything, and most of what is personal is
# no such word: an address, a number, a name with a surname.
_WORD = re.compile(r"[^\W\d](?:[^\W\d]|[-\d](?!\d{3})){0,59}|\[key\]")


class Mistake(NamedTuple):
    """A mistake in an input."""

    location: tuple[int | str, ...]
    """Empty where it is the whole input."""
    what: str
    type: str
    """Pydantic's name for it, or a validator's."""

    @property
    def place(self) -> str:
        """The location as text, such as `lines.0.quantity`."""
        return ".".join(map(str, self.location))

    def said(self, whole: str) -> str:
        """The mistake in one line; `whole` is what the whole input is called."""
        return f"{self.place or whole}: {self.what}"


def mistakes(error: ValidationError) -> list[Mistake]:
    """The mistakes of a validation error, in pydantic's own words.

    A validator's message can hold anything: only its type is told, and all of it is logged at the level DEBUG.
    """
    found = error.errors(include_url=False, include_input=False)
    told = [Mistake(tuple(map(shown, each["loc"])), _words(each), each["type"]) for each in found]
    whole = [Mistake(each["loc"], each["msg"], each["type"]) for each in found]
    if told != whole:
        _logger.debug("%s is not valid: %s", error.title, "; ".join(each.said("input") for each in whole))
    return told


def _words(problem: Mapping[str, Any]) -> str:
    kind, said = problem["type"], problem["msg"]
    if kind not in _QUOTING and _is_pydantics(kind, said, problem.get("ctx")):
        return str(said)
    return f"{kind} (what it says is logged at DEBUG)"


def _is_pydantics(kind: str, said: str, context: dict[str, Any] | None) -> bool:
    """Whoever raises a PydanticCustomError may give it any type, and any words."""
    try:
        own = PydanticKnownError(kind, context).message()  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):
        return False
    return said in _IN_JSON or said.replace("valid duration", "valid timedelta") == own


def shown(part: int | str) -> int | str:
    """A part of a place, or `…` where it may be a key that is anybody's data."""
    return part if isinstance(part, int) or _WORD.fullmatch(part) else "…"

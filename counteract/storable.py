"""Values that come back from JSON and PostgreSQL as they went in: text without U+0000, finite numbers, equal values."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from counteract.mistakes import mistakes, shown

NO_UTF8 = "holds half a surrogate pair, which is no UTF-8: correct it where it came in"
NUL = "holds the character \\u0000, which PostgreSQL cannot store: leave it out"
NOT_FINITE = "holds NaN or an infinite number, which JSON has not: leave it out"

_MAX_TEXT = 4000
"""The most characters of a cause or a reason that are kept."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_DEEPEST = 50
_MOST_BITS = 14_000
_ARRAYS = (list, tuple, deque)


class Unstorable(ValueError):
    """A value cannot be stored. The text ends a sentence about the value, and never quotes it: it may be personal."""


def read_back(value: Any, read: Callable[[str], Any], write: Callable[[Any], bytes] | None = None) -> str:
    """The value as JSON that `read` reads back as an equal value. Raises Unstorable."""
    data = written(value, write)
    check_equal(value, data, read)
    return data


def written(value: Any, write: Callable[[Any], bytes] | None = None) -> str:
    """The value as JSON that PostgreSQL can store. Raises Unstorable."""
    try:
        data = (write(value) if write else to_json(value, inf_nan_mode="null")).decode()
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise Unstorable(not_json(error)) from None
    # An escaped backslash before "u0000" is harmless text.
    if "\\u0000" in data and "\\u0000" in data.replace("\\\\", ""):
        raise Unstorable(NUL)
    if "NaN" in data or "Infinity" in data:
        _check_finite(data)
    return data


def check_equal(value: Any, data: str, read: Callable[[str], Any]) -> None:
    """Raises Unstorable where the JSON comes back as something other than the value."""
    try:
        back = read(data)
    except ValidationError as error:
        problems = "; ".join(each.said("it") for each in mistakes(error))
        raise Unstorable(f"could not be read back ({problems}): correct the value, or its declaration") from None
    if type(back) is type(value) and back == value:
        return
    if problem := _difference(value, back, ""):
        raise Unstorable(problem)


def listed(error: ValidationError) -> list[dict[str, str]]:
    """The fields of a validation error, without their values: these may be personal, and errors end up in logs."""
    return [{"field": each.place, "error": each.what, "type": each.type} for each in mistakes(error)]


def invalid(error: ValidationError, of: str | None = None) -> str:
    """A sentence that names the wrong fields of a validation error, without what was in them."""
    problems = "; ".join(each.said("input") for each in mistakes(error))
    return f"{of or error.title} is not valid: {problems}"


def storable_text(text: str, most: int = _MAX_TEXT) -> str:
    """The text with a replacement character for each one that cannot be stored, cut to so many characters."""
    shown = _UNSTORABLE.sub(_REPLACEMENT, text[:most])
    return shown if len(text) <= most else shown + "…"


def storable(value: Any) -> Any:
    """The value, whatever it is, as JSON values that can be stored: text is cleaned, all else is put in words."""
    try:
        plain = to_jsonable_python(value, inf_nan_mode="strings", fallback=_in_words)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        plain = _in_words(value)
    return _cleaned(plain, 0)


def cut(text: str, most_bytes: int) -> str:
    """The text, cleaned, cut so that its JSON takes at most so many bytes."""
    shown = storable_text(text, most_bytes)
    while len(to_json(shown)) > most_bytes:
        shown = shown[: -max(2, len(shown) // 20)] + "…"
    return shown


def not_json(failure: Exception) -> str:
    """Why there is no JSON of a value."""
    error = str(failure)
    if "surrogates" in error:
        return NO_UTF8
    if "invalid utf-8" in error:
        return "holds bytes that are no UTF-8: let its model write and read them as base64 (ser_json_bytes, val_json_bytes)"
    # The text of a serializer's own exception may quote the value.
    told = re.search("unknown type: <.*>|[Cc]ircular reference[^:]*|depth exceeded", error)
    return f"is not JSON{f' ({told[0]})' if told else ''}: put plain values into it"


def _check_finite(data: str) -> None:
    try:
        from_json(data, allow_inf_nan=False)
    except ValueError:
        raise Unstorable(NOT_FINITE) from None


def _difference(sent: Any, back: Any, where: str) -> str | None:
    """The first field that came back as something else, in words; None where only the way of saying it differs."""
    if _same(sent, back):
        return None
    parts, others = _parts(sent, back), _parts(back, sent)
    if parts is None or others is None:
        return _changed(where, _other_type(sent, back))
    if parts.keys() != others.keys():
        return _changed(where, "comes back with other keys, or fewer: let it be read as it is written")
    inner = ((f"{where}.{_name(key)}" if where else _name(key), key) for key in parts)
    return next((what for place, key in inner if (what := _difference(parts[key], others[key], place))), None)


def _parts(value: Any, other: Any) -> Mapping[Any, Any] | None:
    """The parts of the value, where they can be compared with those of the other."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value
    # JSON has one kind of array: a tuple where any sequence will do is no other value as a list.
    if isinstance(value, _ARRAYS) and isinstance(other, _ARRAYS):
        return dict(enumerate(value))
    return _fields(value) if type(value) is type(other) else None


def _fields(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, BaseModel):
        own = {name: value.__dict__.get(name) for name in type(value).__pydantic_fields__}
        return own | (value.__pydantic_extra__ or {})
    if is_dataclass(value):
        return {each.name: getattr(value, each.name, None) for each in fields(value)}
    return None


def _same(sent: Any, back: Any) -> bool:
    try:
        if sent == back:
            return True
    except Exception:  # Whatever a class of the user's makes of it.
        return False
    if isinstance(sent, datetime) and isinstance(back, datetime) and sent.tzinfo and back.tzinfo:
        # Python calls a moment in a gap or a fold of local time equal to no other.
        return sent.astimezone(UTC) == back.astimezone(UTC)
    # Some objects are equal to nothing but themselves.
    return (
        type(sent) is type(back)
        and _has_no_equal(type(sent))
        and getattr(sent, "__dict__", 0) == getattr(back, "__dict__", 0)
    )


def _has_no_equal(kind: type) -> bool:
    return not any("__eq__" in vars(each) for each in kind.__mro__[:-1])


def _other_type(sent: Any, back: Any) -> str:
    if isinstance(sent, float) and not isfinite(sent):
        return NOT_FINITE
    was, becomes = type(sent).__name__, type(back).__name__
    if was == becomes:
        return f"comes back as another {was}: let it be read as it is written"
    return f"is {was} and comes back as {becomes}: declare the field as {was}, or put {becomes} into it"


def _name(key: Any) -> str:
    return str(shown(key if isinstance(key, int) else str(key)))


def _changed(where: str, what: str) -> str:
    return f"{where} {what}" if where else what


def _in_words(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # Whatever a class of the user's makes of it.
        return f"<{type(value).__name__}>"


def _cleaned(value: Any, depth: int) -> Any:
    if isinstance(value, dict | list) and depth >= _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {storable_text(str(key)): _cleaned(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_cleaned(each, depth + 1) for each in value]
    if isinstance(value, float):
        return value if isfinite(value) else from_json(to_json(value, inf_nan_mode="strings"))
    # A number of more than 4300 digits is written, and not read.
    plain = value is None or (isinstance(value, int) and value.bit_length() < _MOST_BITS)
    return value if plain else storable_text(value if isinstance(value, str) else _in_words(value))

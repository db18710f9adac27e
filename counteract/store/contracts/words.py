"""JSON Schemas in words, for a line of a report."""

from __future__ import annotations

import json
from typing import Any

_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} long",
    "maxLength": "at most {} long",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
    "pattern": "matching {}",
    "format": "in the format {}",
}


def phrase(schema: Any) -> str:
    """The schema in a few words, such as `integer, at least 1` or `string or null`."""
    if not isinstance(schema, dict):
        return "anything" if schema else "nothing"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if union := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(phrase, union))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        return ("one of " if len(values) > 1 else "") + ", ".join(map(_value, values))
    limits = [text.format(schema[name]) for name, text in _LIMITS.items() if name in schema]
    unique = ["without repeats"] if schema.get("uniqueItems") else []
    return ", ".join([_kind(schema), *limits, *unique])


def _kind(schema: dict[str, Any]) -> str:
    kind = str(schema.get("type", "nothing" if "not" in schema else "anything"))
    if kind == "array" and "items" in schema:
        return f"array of {phrase(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object with values of {phrase(schema['additionalProperties'])}"
    tags = [f"{name} {_value(value)}" for name, value in tags_of(schema).items()]
    return f"{kind} with {', '.join(tags)}" if tags else kind


def tags_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The fields that have one value only, by which the parts of a union are told apart."""
    fields = schema.get("properties", {}).items()
    return {name: field["const"] for name, field in fields if isinstance(field, dict) and "const" in field}


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

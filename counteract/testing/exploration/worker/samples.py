"""Sample values of types, for the answers of scripted services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from counteract.errors import ConfigurationError

_TEXT = "counteract: any text"
"""The key of the text for strings, among the schema's own definitions."""
_FORMATS = {
    "date": "2030-01-01",
    "date-time": "2030-01-01T00:00:00Z",
    "duration": "PT1S",
    "email": "someone@example.org",
    "time": "00:00:00Z",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(adapter: TypeAdapter[Any], text: str = "x") -> Any:
    """A small value that validates, in which strings that may be of any kind are `text`.

    Raises ConfigurationError where the type asks for more than its schema says.
    """
    schema = adapter.json_schema()
    try:
        return _validated(adapter, schema, text)
    except (ValueError, LookupError) as error:
        title = schema.get("title", "its result type")
        problem = f"no value of {title} could be made up: give one in answers="
        raise ConfigurationError("a scripted service has no answer", [problem]) from error


def _validated(adapter: TypeAdapter[Any], schema: dict[str, Any], text: str) -> Any:
    known = schema.get("$defs", {})
    try:
        return adapter.validate_python(_of(schema, {**known, _TEXT: text}))
    except ValueError:
        return adapter.validate_python(_of(schema, {**known, _TEXT: "x"}))


def _of(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    for name, make in _MAKERS.items():
        if name in schema:
            return make(schema, known)
    return _TYPES[schema.get("type", "null")](schema, known)


def _referred(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    return _of(known[schema["$ref"].rpartition("/")[2]], known)


def _object(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    properties = schema.get("properties", {})
    return {name: _of(properties[name], known) for name in schema.get("required", ())}


def _array(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    ahead = [_of(each, known) for each in schema.get("prefixItems", ())]
    return ahead + [_of(schema["items"], known) for _ in range(schema.get("minItems", 0) - len(ahead))]


def _string(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    least = max(1, schema.get("minLength", 1))
    return _FORMATS.get(schema.get("format", "")) or (known[_TEXT] if least == 1 else "x" * least)


def _number(schema: dict[str, Any], _: dict[str, Any]) -> Any:
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return min(least, schema.get("maximum", least))


_Make = Callable[[dict[str, Any], dict[str, Any]], Any]

_MAKERS: dict[str, _Make] = {
    "default": lambda schema, _: schema["default"],
    "const": lambda schema, _: schema["const"],
    "enum": lambda schema, _: schema["enum"][0],
    "$ref": _referred,
    "anyOf": lambda schema, known: _of(schema["anyOf"][0], known),
    "oneOf": lambda schema, known: _of(schema["oneOf"][0], known),
    "allOf": lambda schema, known: _of(schema["allOf"][0], known),
}
_TYPES: dict[str, _Make] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda *_: False,
    "null": lambda *_: None,
}

"""Documents of a JSON Schema, for Hypothesis: of what event contracts are made of, and an error for anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

Schema = Mapping[str, Any]

# Beyond them a number in JSON is not the same to every reader.
_MOST = 2**53
_KNOWN = frozenset(
    {
        *("$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default", "enum", "exclusiveMaximum"),
        *("exclusiveMinimum", "items", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum"),
        *("oneOf", "pattern", "prefixItems", "properties", "propertyNames", "required", "title", "type"),
    }
)


def documents(schema: Schema) -> st.SearchStrategy[Any]:
    """Anything that fits."""
    return _documents(schema, schema.get("$defs", {})).filter(Draft202012Validator(dict(schema)).is_valid)


def _documents(schema: Schema, definitions: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    if unknown := schema.keys() - _KNOWN:
        raise NotImplementedError(f"documents with {', '.join(unknown)}")
    if "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return st.deferred(lambda: _documents(target, definitions))
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([_documents(each, definitions) for each in branches])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    return _typed(schema, definitions)


def _typed(schema: Schema, definitions: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    kind = schema.get("type")
    if kind == "array":
        return _arrays(schema, definitions)
    if kind == "object":
        return _objects(schema, definitions)
    return _SCALARS[kind](schema)


_SCALARS: dict[Any, Callable[[Schema], st.SearchStrategy[Any]]] = {
    "null": lambda schema: st.none(),
    "boolean": lambda schema: st.booleans(),
    "integer": lambda schema: st.integers(schema.get("minimum", -_MOST), schema.get("maximum", _MOST)),
    "number": lambda schema: st.integers(-_MOST, _MOST) | st.floats(-_MOST, _MOST),
    "string": lambda schema: (
        st.from_regex(schema["pattern"], fullmatch=True)
        if "pattern" in schema
        else st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength"))
    ),
}


def _arrays(schema: Schema, definitions: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    first = st.tuples(*(_documents(each, definitions) for each in schema.get("prefixItems", ())))
    if "items" not in schema:
        return first.map(list)
    rest = st.lists(_documents(schema["items"], definitions), max_size=3)
    return st.builds(lambda head, tail: [*head, *tail], first, rest)


def _objects(schema: Schema, definitions: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    fields = {name: _documents(each, definitions) for name, each in properties.items()}
    declared = st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: each for name, each in fields.items() if name not in required},
    )
    more = schema.get("additionalProperties", False)
    if more is False:
        return declared
    names = _documents({"type": "string"} | dict(schema.get("propertyNames", {})), definitions)
    extra = st.dictionaries(names, _documents(more, definitions), max_size=3)
    return st.builds(lambda one, other: one | other, extra, declared)

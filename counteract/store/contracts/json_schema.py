"""Event classes as JSON Schemas: what they write, and what they read."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from counteract.messages import Event

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Text for people, which may change at any time. `discriminator` is OpenAPI's, and says nothing that the tags do not.
_DROPPED = frozenset({"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
_VALUES = frozenset({"default", "const", "enum", "required"})

_KEYS = {"integer": r"^-?\d+$", "number": r"^-?[\d.]+([eE][-+]?\d+)?$", "boolean": "^(true|false)$"}
_OFFSETS = {"aware": r"(Z|[+-]\d\d:\d\d)$", "naive": r"T[\d:.]+$"}


class _Generator(GenerateJsonSchema):
    """Pydantic's, and what it leaves out although a class reads less without it."""

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """With the type of the keys, which are text in JSON."""
        found = super().dict_schema(schema)
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        if pattern := _KEYS.get(str(keys.get("type"))):
            found["propertyNames"] = {"pattern": pattern}
        return found

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """With the offset, where the class insists on one, or on none."""
        found = super().datetime_schema(schema)
        if pattern := _OFFSETS.get(str(schema.get("tz_constraint"))):
            found["pattern"] = pattern
        return found


def written_schema(event_class: type[Event]) -> Schema:
    """What the class writes: its contract.

    Closed: nothing but the declared fields is ever written, whatever else the class would put up with.
    """
    return _closed(_schema(event_class, "serialization"))


def readable_schema(event_class: type[Event]) -> Schema:
    """What the class reads, as far as a schema can say it: nothing is known of validators."""
    return _schema(event_class, "validation")


def _schema(event_class: type[Event], mode: JsonSchemaMode) -> Schema:
    schema = event_class.model_json_schema(mode=mode, schema_generator=_Generator)
    return _mapped(schema, _plain)


def _plain(schema: Schema) -> Schema:
    tagged = _with_required_tag(schema) if "discriminator" in schema else schema
    plain = {name: value for name, value in sorted(tagged.items()) if name not in _DROPPED}
    # In which order a class declares its fields says nothing.
    return plain | ({"required": sorted(plain["required"])} if "required" in plain else {})


def _with_required_tag(schema: Schema) -> Schema:
    """Where a tag tells which class is meant, it must be there, even if that class by itself has a default for it."""
    tag = schema["discriminator"]["propertyName"]
    return schema | {
        "oneOf": [each | {"required": sorted({*each.get("required", ()), tag})} for each in schema["oneOf"]]
    }


def _closed(schema: Schema) -> Schema:
    def close(part: Schema) -> Schema:
        is_open = "properties" in part and "additionalProperties" not in part
        return dict(sorted((part | {"additionalProperties": False}).items())) if is_open else part

    return _mapped(schema, close)


def _mapped(schema: Schema, change: Any) -> Schema:
    """`change` for the schema and for every schema inside it, the inner ones first; what are values is left alone."""

    def inside(name: str, value: Any) -> Any:
        if name in _VALUES:
            return value
        if name in _NAMED_SCHEMAS:
            return {each: _mapped(inner, change) for each, inner in sorted(value.items())}
        if isinstance(value, list):
            return [_mapped(each, change) if isinstance(each, dict) else each for each in value]
        return _mapped(value, change) if isinstance(value, dict) and name != "discriminator" else value

    changed: Schema = change({name: inside(name, value) for name, value in schema.items()})
    return changed

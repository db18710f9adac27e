"""JSON Schemas of event classes: of the data that they write, and of the data that they read."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from counteract.messages import Event

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Text for people, which may change at any time. `discriminator` is OpenAPI's, and adds nothing to the tags.
_DROPPED = frozenset({"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
_VALUES = frozenset({"default", "const", "enum", "required"})

_KEYS = {"integer": r"^-?\d+$", "number": r"^-?[\d.]+([eE][-+]?\d+)?$", "boolean": "^(true|false)$"}
_OFFSETS = {"aware": r"(Z|[+-]\d\d:\d\d)$", "naive": r"T[\d:.]+$"}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, with parts that it leaves out although a class refuses data by them."""

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """The schema of a dictionary, with the type of its keys, which are text in JSON."""
        found = super().dict_schema(schema)
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        if pattern := _KEYS.get(str(keys.get("type"))):
            found["propertyNames"] = {"pattern": pattern}
        return found

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """The schema of a time, with the offset where the class insists on one, or on none."""
        found = super().datetime_schema(schema)
        if pattern := _OFFSETS.get(str(schema.get("tz_constraint"))):
            found["pattern"] = pattern
        return found


def written_schema(event_class: type[Event]) -> Schema:
    """The schema of the data that the class writes: its contract.

    It is closed: only declared fields are ever written, whatever else the class would accept.
    """
    return _closed(_schema(event_class, "serialization"))


def readable_schema(event_class: type[Event]) -> Schema:
    """The schema of the data that the class reads, as far as a schema can say it: validators do not show."""
    return _schema(event_class, "validation")


def _schema(event_class: type[Event], mode: JsonSchemaMode) -> Schema:
    schema = event_class.model_json_schema(mode=mode, schema_generator=_Generator)
    return _mapped(schema, _plain)


def _plain(schema: Schema) -> Schema:
    tagged = _with_required_tag(schema) if "discriminator" in schema else schema
    plain = {name: value for name, value in sorted(tagged.items()) if name not in _DROPPED}
    # The order in which a class declares its fields means nothing.
    return plain | ({"required": sorted(plain["required"])} if "required" in plain else {})


def _with_required_tag(schema: Schema) -> Schema:
    """The schema with its tag required: where it tells which class is meant, a default in that class does not replace
    it.
    """
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
    """Apply `change` to every schema inside the schema, the inner ones first, and to itself; values are left alone."""

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

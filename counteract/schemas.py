"""Schemas of message classes, as pydantic understood them: whether instances read what they write, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel
from pydantic_core import SchemaSerializer, core_schema, to_json

Schema = Mapping[str, Any]

_SETS = ("set", "frozenset")
_NO_KEYS = ("tuple", "list", "set", "frozenset", "dict", "model", "dataclass", "typed-dict")
_UNREADABLE = ("is-instance", "is-subclass", "callable")
_INSIDE = ("schema", "items_schema", "keys_schema", "values_schema", "arguments_schema", "extras_schema", "choices")
_READS_JSON = {"lax-or-strict": "lax_schema", "json-or-python": "json_schema"}
_NO_SCHEMA = ("metadata", "serialization", "default", "expected", "cls", "config", "function")


@dataclass(frozen=True, slots=True)
class _Place:
    """The place in a schema that the search has come to, and what holds there."""

    path: tuple[str, ...] = ()
    config: Schema = field(default_factory=dict)
    converted: bool = False
    """A validator of the user's own runs first, and may make of JSON what this asks for."""

    def inside(self, name: str) -> _Place:
        return replace(self, path=(*self.path, name))

    def says(self, what: str) -> str:
        return f"{'.'.join(self.path) or 'it'} {what}"


def unreadable(schema: Any) -> list[str]:
    """The fields that instances write and do not read back, each with the way out.

    Custom serializers cannot be judged.
    """
    return list(dict.fromkeys(_Search().within(schema, _Place())))


def write_sets_in_order(model: type[BaseModel]) -> None:
    """Let its instances write sets always in the same order, so that a repeat is a repeat in every process."""
    if (serializer := _ordered_serializer(model)) is not None:
        model.__pydantic_serializer__ = serializer


class _Search:
    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}
        self._seen: set[str] = set()

    def within(self, node: Schema, place: _Place) -> Iterator[str]:
        kind = node["type"]
        if kind == "definitions":
            self._definitions |= {each["ref"]: each for each in node["definitions"]}
        elif kind == "definition-ref":
            yield from self._referred(node["schema_ref"], place)
            return
        if (own := _own_serializer(node)) is not None:
            # What it writes is its own affair, and each value is checked; a secret's writes asterisks.
            if own.startswith("_serialize_secret"):
                yield place.says(
                    "is a secret, which is written as asterisks: declare str, or send a token in its place"
                )
            return
        yield from _wrong_here(node, place)
        for inner, where in self._inner(node, place):
            yield from self.within(inner, where)

    def _referred(self, ref: str, place: _Place) -> Iterator[str]:
        if ref in self._definitions and ref not in self._seen:
            self._seen.add(ref)
            yield from self.within(self._definitions[ref], place)

    def _inner(self, node: Schema, place: _Place) -> Iterator[tuple[Schema, _Place]]:
        match node["type"]:
            case "model" | "dataclass":
                yield node["schema"], replace(place, config=node.get("config", {}))
            case "model-fields" | "dataclass-args" | "typed-dict":
                for name, each in _fields(node):
                    yield each["schema"], place.inside(name)
            case "lax-or-strict" | "json-or-python" as kind:
                yield node[_READS_JSON[kind]], place
            case "chain":
                for n, step in enumerate(node["steps"]):
                    yield step, replace(place, converted=place.converted or n > 0)
            case "function-before" | "function-wrap":
                yield node["schema"], replace(place, converted=True)
            case _:
                yield from ((each, place) for key in _INSIDE for each in _schemas(node.get(key)))


def _wrong_here(node: Schema, place: _Place) -> Iterator[str]:
    match node["type"]:
        case "model-fields" | "dataclass-args" | "typed-dict":
            yield from _wrong_fields(node, place)
        case "json":
            yield place.says("is Json[…], which is read as text and written as what is in it: declare that type itself")
        case "generator":
            yield place.says("is an iterator, which can be read only once: declare a list")
        case "dict" if node.get("keys_schema", {}).get("type") in _NO_KEYS:
            yield place.says("has keys that are no text in JSON: declare a list of pairs")
        case kind if kind in _UNREADABLE and not place.converted:
            yield place.says("is of a class that pydantic cannot read from JSON: declare its fields, or a validator")


def _wrong_fields(node: Schema, place: _Place) -> Iterator[str]:
    extra = node.get("extra_behavior") or place.config.get("extra_fields_behavior", "ignore")
    if extra != "ignore":
        for computed in node.get("computed_fields", ()):
            name = computed["property_name"]
            yield place.inside(name).says(
                "is a computed_field, which is written and not read: declare a plain property"
            )
    for name, each in _fields(node):
        yield from _wrong_field(name, each, place)


def _wrong_field(name: str, each: Schema, place: _Place) -> Iterator[str]:
    here = place.inside(name)
    if each.get("serialization_exclude"):
        yield here.says("has exclude=True, and would be lost on the way: leave that away, or the field")
        return
    if each.get("init_only") or each.get("init") is False:
        yield here.says("is written or read, but not both: let it be an ordinary field of its dataclass")
        return
    written, read = each.get("serialization_alias", name), _read_names(name, each, place.config)
    if written not in read:
        names = " or ".join(map(repr, sorted(read))) or "nothing"
        yield here.says(f"is written as {written!r} and read as {names}: give it one alias= for both")


def _read_names(name: str, each: Schema, config: Schema) -> set[str]:
    alias = each.get("validation_alias")
    if alias is None:
        return {name}
    names = {name} if config.get("validate_by_name", config.get("populate_by_name", False)) else set()
    return names | (_aliases(alias) if config.get("validate_by_alias", True) else set())


def _aliases(alias: Any) -> set[str]:
    """One name, one path, or a choice of paths. Only a path of one name leads to what is written there."""
    if isinstance(alias, str):
        return {alias}
    paths = alias if alias and isinstance(alias[0], list) else [alias]
    return {path[0] for path in paths if len(path) == 1}


def _own_serializer(node: Schema) -> str | None:
    serialization = node.get("serialization") or {}
    function = serialization.get("function")
    return getattr(function, "__name__", "") if function is not None else None


def _fields(node: Schema) -> Iterable[tuple[str, Schema]]:
    fields = node["fields"]
    return fields.items() if isinstance(fields, dict) else [(each["name"], each) for each in fields]


def _schemas(value: Any) -> Iterator[Schema]:
    """The schemas in one, in a list, or by tag; a choice of a union may come with its label."""
    if isinstance(value, dict):
        yield from [value] if isinstance(value.get("type"), str) else _schemas(list(value.values()))
    elif isinstance(value, list):
        for each in value:
            yield from _schemas(each[0] if isinstance(each, tuple) else each)


_serializers: WeakKeyDictionary[type[BaseModel], SchemaSerializer | None] = WeakKeyDictionary()


def _ordered_serializer(model: type[BaseModel]) -> SchemaSerializer | None:
    """None where there is nothing to order."""
    if model not in _serializers:
        _serializers[model] = _made_serializer(model)
    return _serializers[model]


def _made_serializer(model: type[BaseModel]) -> SchemaSerializer | None:
    ordered = _with_ordered_sets(_of_itself(model.__pydantic_core_schema__), model)
    if ordered == model.__pydantic_core_schema__:
        return None
    # The serializers that nested models have already would write them as before.
    return SchemaSerializer(ordered, None, _use_prebuilt=False)


def _with_ordered_sets(node: Any, model: type[BaseModel]) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(_with_ordered_sets(each, model) for each in node)
    if not isinstance(node, dict):
        return node
    ordered = {key: value if key in _NO_SCHEMA else _with_ordered_sets(value, model) for key, value in node.items()}
    if node.get("type") in _SETS and "serialization" not in node:
        ordered["serialization"] = core_schema.wrap_serializer_function_ser_schema(_in_order, when_used="json")
    if _is_any(node):
        return _plain(ordered) if node.get("cls") is model else ordered | {"serialization": _ANY}
    return ordered


def _of_itself(schema: Any) -> Any:
    """The schema without the `SerializeAsAny` that pydantic writes for the class itself, which would ask for itself."""
    if schema["type"] == "definitions":
        return schema | {"schema": _of_itself(schema["schema"])}
    return _plain(schema) if _is_any(schema) else schema


def _is_any(node: Any) -> bool:
    return bool((node.get("serialization") or {}).get("type") == "any")


def _plain(node: Any) -> Any:
    return {key: value for key, value in node.items() if key != "serialization"}


def _as_what_it_is(value: Any, info: Any) -> Any:
    """The serializer for `SerializeAsAny`, which writes a value by its own class, whose serializer may be pydantic's."""
    serializer = _ordered_serializer(type(value)) if isinstance(value, BaseModel) else None
    return serializer.to_python(value, mode=info.mode, by_alias=info.by_alias) if serializer else value


_ANY = core_schema.plain_serializer_function_ser_schema(_as_what_it_is, info_arg=True, when_used="json")


def _in_order(value: Any, write: Any) -> Any:
    items = write(value)
    return sorted(items, key=to_json) if isinstance(value, set | frozenset) else items

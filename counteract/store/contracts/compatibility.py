"""Compatibility: the documents that one JSON Schema admits and another does not.

The validator's own containment proves it, part by part; this walk adds the place, and recursive schemas. It errs to one
side only: a document that cannot be proved to be admitted counts as not admitted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jsonschema_rs import canonicalize
from jsonschema_rs.canonical import CanonicalizationError, Containment

from counteract.store.contracts.json_schema import Schema
from counteract.store.contracts.words import phrase, tags_of

_UNIONS = ("anyOf", "oneOf")
_OF_OBJECTS = frozenset({"properties", "required", "additionalProperties", "propertyNames"})
_OF_ARRAYS = frozenset({"items", "prefixItems"})
_NOT_COMPARED = frozenset({"$defs", "$schema", "default", "title"})

# Claims that a validator may ignore, but a class that makes them does not.
_CLAIMS = frozenset({"format", "contentEncoding", "contentMediaType", "contentSchema"})

REFERENCE = "#/$defs/"
"""The beginning of every reference: pydantic puts definitions nowhere else."""

_NOTHING: Schema = {"not": {}}
ABSENT = "absent"

Assumed = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """One place at which less is admitted than before, in words."""

    path: str
    """The place as in JSONPath: `$.lines[*].quantity`."""
    was: str
    now: str


def narrowings(before: Schema, after: Schema) -> Sequence[Narrowing]:
    """The places at which `after` does not admit a document of `before`. None: it admits all of them."""
    return list(dict.fromkeys(_Comparison(before, after).of(before, after, "$", frozenset())))


def changed_defaults(before: Schema, after: Schema) -> Sequence[Narrowing]:
    """The places of optional fields whose default has changed: a document without the field is now read otherwise."""
    known, wanted = dict(_defaults(before, before, "$", ())), dict(_defaults(after, after, "$", ()))
    return [
        Narrowing(path, f"by default {known[path]}", f"by default {wanted[path]}")
        for path in known
        if path in wanted and known[path] != wanted[path]
    ]


class _Comparison:
    """The comparison of two documents, each with its own definitions."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before_defs: Mapping[str, Schema] = before.get("$defs", {})
        self._after_defs: Mapping[str, Schema] = after.get("$defs", {})

    def of(self, before: Any, after: Any, path: str, assumed: Assumed) -> list[Narrowing]:
        before, after = _as_schema(before), _as_schema(after)
        pair = (str(before.get("$ref")), str(after.get("$ref")))
        if pair in assumed:
            # Recursive: it holds here if it holds where we come from.
            return []
        if "$ref" in before and "$ref" in after:
            assumed |= {pair}
        before, after = _resolved(before, self._before_defs), _resolved(after, self._after_defs)
        if union := _branches(before):
            found = [each for branch in union for each in self.of(branch, after, path, assumed)]
            return [replace(each, was=phrase(before)) if each.path == path else each for each in found]
        if union := _branches(after):
            return self._of_union(before, after, union, path, assumed)
        if _are(before, after, "object") and not {"patternProperties"} & (before.keys() | after.keys()):
            return self._of_objects(before, after, path, assumed)
        if _are(before, after, "array"):
            return self._of_arrays(before, after, path, assumed)
        return self._of_whole(before, after, path)

    def _of_union(
        self, before: Schema, after: Schema, union: Sequence[Schema], path: str, assumed: Assumed
    ) -> list[Narrowing]:
        attempts = [self.of(before, branch, path, assumed) for branch in union]
        if not all(attempts) or self._is_covered(before, after):
            return []
        # The branch that was meant, if there is one: it differs somewhere inside, and not in its kind.
        inside = [
            attempt
            for branch, attempt in zip(union, attempts, strict=True)
            if all(each.path != path for each in attempt)
            and not _have_other_tags(before, _resolved(branch, self._after_defs))
        ]
        return min(inside, key=len) if inside else [_changed(path, before, after)]

    def _of_objects(self, before: Schema, after: Schema, path: str, assumed: Assumed) -> list[Narrowing]:
        return [
            *self._of_whole(_without(before, _OF_OBJECTS), _without(after, _OF_OBJECTS), path),
            *self._of_required(before, after, path),
            *self._of_properties(before, after, path, assumed),
            *self.of(before.get("propertyNames", {}), after.get("propertyNames", {}), f"{path}.* (name)", assumed),
        ]

    def _of_required(self, before: Schema, after: Schema, path: str) -> Iterator[Narrowing]:
        for name in sorted({*after.get("required", ())} - {*before.get("required", ())}):
            known = before.get("properties", {}).get(name)
            was = ABSENT if known is None else f"optional, {phrase(known)}"
            yield Narrowing(f"{path}.{name}", was, f"required, {phrase(after.get('properties', {}).get(name, {}))}")

    def _of_properties(self, before: Schema, after: Schema, path: str, assumed: Assumed) -> Iterator[Narrowing]:
        known, wanted = before.get("properties", {}), after.get("properties", {})
        more, more_wanted = before.get("additionalProperties", True), after.get("additionalProperties", True)
        for name, schema in known.items():
            if name not in wanted and more_wanted is False:
                yield Narrowing(f"{path}.{name}", phrase(schema), ABSENT)
            else:
                yield from self.of(schema, wanted.get(name, more_wanted), f"{path}.{name}", assumed)
        if more is not False:
            for name in wanted.keys() - known.keys():
                yield from self.of(more, wanted[name], f"{path}.{name}", assumed)
            yield from self.of(more, more_wanted, f"{path}.*", assumed)

    def _of_arrays(self, before: Schema, after: Schema, path: str, assumed: Assumed) -> list[Narrowing]:
        longest = max(len(before.get("prefixItems", ())), len(after.get("prefixItems", ())))
        most = before.get("maxItems")
        places = range(longest if most is None else min(longest, most))
        found = self._of_whole(_without(before, _OF_ARRAYS), _without(after, _OF_ARRAYS), path)
        for place in places:
            found += self.of(_item(before, place), _item(after, place), f"{path}[{place}]", assumed)
        if most is None or most > longest:
            found += self.of(before.get("items", True), after.get("items", True), f"{path}[*]", assumed)
        return found

    def _of_whole(self, before: Schema, after: Schema, path: str) -> list[Narrowing]:
        return [] if self._is_covered(before, after) else [_changed(path, before, after)]

    def _is_covered(self, before: Schema, after: Schema) -> bool:
        before, after = _without(before, _NOT_COMPARED), _without(after, _NOT_COMPARED)
        if any(after[claim] != before.get(claim) for claim in _CLAIMS & after.keys()):
            return False
        try:
            narrower = canonicalize(before | {"$defs": self._before_defs}, validate_formats=True)
            wider = canonicalize(_without(after, _CLAIMS) | {"$defs": self._after_defs}, validate_formats=True)
        except (CanonicalizationError, ValueError):
            return False
        return wider.covers(narrower) is Containment.YES


def _defaults(root: Schema, schema: Any, path: str, inside: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each default by its path, as JSON; recursive parts once."""
    schema = _as_schema(schema)
    if "default" in schema:
        yield path, json.dumps(schema["default"], sort_keys=True)
    if (reference := schema.get("$ref")) in inside:
        return
    inside = (*inside, reference) if reference else inside
    schema = _resolved(schema, root.get("$defs", {}))
    parts = {f".{name}": part for name, part in schema.get("properties", {}).items()}
    parts |= {step: schema[name] for step, name in (("[*]", "items"), (".*", "additionalProperties")) if name in schema}
    for step, part in parts.items():
        yield from _defaults(root, part, path + step, inside)
    for branch in _branches(schema):
        yield from _defaults(root, branch, path, inside)


def _as_schema(schema: Any) -> Schema:
    if isinstance(schema, bool):
        return {} if schema else _NOTHING
    found: Schema = schema
    return found


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    while "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix(REFERENCE)]
        schema = _both(target, _without(schema, frozenset({"$ref"})))
    return schema


def _branches(schema: Schema) -> Sequence[Schema]:
    for union in _UNIONS:
        if union in schema:
            return [_both(each, _without(schema, frozenset({union}))) for each in schema[union]]
    return ()


def _both(schema: Schema, beside: Schema) -> Schema:
    """The schema of a reference or of a part of a union, with what must hold beside it: in practice only tags."""
    beside = _without(beside, _NOT_COMPARED)
    if beside.keys() <= {"required"}:
        return schema | {"required": sorted({*schema.get("required", ()), *beside["required"]})} if beside else schema
    return {"allOf": [schema, beside]}


def _have_other_tags(before: Schema, after: Schema) -> bool:
    one, other = tags_of(before), tags_of(after)
    return any(one[name] != other[name] for name in one.keys() & other.keys())


def _are(before: Schema, after: Schema, kind: str) -> bool:
    return before.get("type") == after.get("type") == kind


def _item(schema: Schema, place: int) -> Any:
    first = schema.get("prefixItems", ())
    return first[place] if place < len(first) else schema.get("items", True)


def _without(schema: Schema, names: frozenset[str]) -> Schema:
    return {name: value for name, value in schema.items() if name not in names}


def _changed(path: str, before: Schema, after: Schema) -> Narrowing:
    return Narrowing(path, phrase(before), phrase(after))

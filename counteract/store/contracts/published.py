"""Published contracts: whatever was stored under a name and version can be read, and a test of one folder tells.

A published file is the JSON Schema of everything that was, or may have been, stored under its name and version. It only
ever widens, so a class that reads everything that it admits also reads everything that was stored before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from jsonschema_rs import Draft202012Validator, ReferencingError, ValidationError

from counteract.decoding import readers_of
from counteract.errors import ConfigurationError
from counteract.messages import Event
from counteract.store.contracts.compatibility import REFERENCE, Narrowing, changed_defaults, narrowings
from counteract.store.contracts.json_schema import DIALECT, Schema, readable_schema, written_schema

ENGINE_CONTRACTS = Path(__file__).parents[2] / "contracts"
"""The contracts of the events that sagas write of themselves: they come with the engine, whose own tests hold them."""

_FILE = re.compile(r"(?P<event_type>.+)\.v(?P<version>[1-9]\d*)\.json")


class Key(NamedTuple):
    """The name and version under which an event is stored."""

    event_type: str
    version: int

    def __str__(self) -> str:
        return f"{self.event_type} v{self.version}"

    @property
    def file_name(self) -> str:
        """The name of the contract's file. An event's name may hold anything, a file's may not."""
        return f"{quote(self.event_type, safe='')}.v{self.version}.json"


Published = Mapping[Key, Schema]


class Effect(StrEnum):
    """The effect of a difference on stored data."""

    BREAKS = "breaks"
    """Data that may be stored no longer fits."""
    WIDENS = "widens"
    """All data that may be stored still fits."""
    REINTERPRETS = "reinterprets"
    """Stored data is read as something else: a default has changed."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between a published contract and today's class."""

    key: Key
    effect: Effect
    place: Narrowing


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason why a contract is not kept, and what to do about it."""

    key: Key
    what: str
    remedy: str
    narrowings: Sequence[Narrowing] = field(default=(), kw_only=True)
    publishing_helps: bool = field(default=False, kw_only=True)


def key_of(event_class: type[Event]) -> Key:
    """The name and version of an event class."""
    return Key(event_class.event_type, event_class.schema_version)


def contract_of(event_class: type[Event]) -> Schema:
    """The contract of today's class, as `publish` writes it."""
    return {"$schema": DIALECT, "title": str(key_of(event_class))} | written_schema(event_class)


def published_in(folder: Path) -> Published:
    """The contracts of a folder, which need not exist. Raises ConfigurationError for files that are not contracts."""
    found: dict[Key, Schema] = {}
    problems = []
    for file in sorted(folder.glob("*.json")):
        try:
            found[_key_of(file)] = _read(file)
        except (ValueError, ValidationError, ReferencingError) as error:
            reason = str(error).partition("\n")[0]
            problems.append(f"{file.name}: {reason}; restore it from version control")
    if problems:
        raise ConfigurationError(f"not all files in {folder} are contracts", problems)
    return found


def check(classes: Iterable[type[Event]], published: Published) -> Sequence[Problem]:
    """All problems that keep today's classes from reading the data that published contracts allow to be stored.

    Raises ConfigurationError for classes that are declared wrongly.
    """
    classes = list(classes)
    readers, wrong = readers_of(classes)
    if wrong:
        raise ConfigurationError("the events are declared wrongly", wrong)
    keys = [Key(*each) for each in readers]
    return [
        *(problem for each in classes for problem in _problems_of(each, published.get(key_of(each)))),
        *(_unread(key, keys) for key in published if key not in readers),
        *(
            _lost(key)
            for key, reader in zip(keys, readers.values(), strict=True)
            if reader.upcasters and key not in published
        ),
    ]


def publish(classes: Sequence[type[Event]], folder: Path) -> tuple[Sequence[Key], Sequence[Problem]]:
    """Write contracts that are new or wider; which those are, or else the problems. All or nothing.

    Nothing is ever narrowed or removed: data of whatever stands in the folder may be stored somewhere.
    """
    published = published_in(folder)
    if problems := [each for each in check(classes, published) if not each.publishing_helps]:
        return (), problems
    fresh = {
        key_of(each): contract for each in classes if (contract := contract_of(each)) != published.get(key_of(each))
    }
    folder.mkdir(parents=True, exist_ok=True)
    for key, contract in fresh.items():
        (folder / key.file_name).write_text(_text(contract), encoding="utf-8")
    return list(fresh), ()


def differences(classes: Iterable[type[Event]], published: Published) -> Iterable[Difference]:
    """The changes of classes whose contracts are published."""
    for each in classes:
        key, today = key_of(each), contract_of(each)
        before = published.get(key)
        if before is None or before == today:
            continue
        breaking = {place.path: place for place in narrowings(before, today)}
        yield from (Difference(key, Effect.BREAKS, place) for place in breaking.values())
        for place in narrowings(today, before):
            if place.path not in breaking:
                yield Difference(key, Effect.WIDENS, Narrowing(place.path, was=place.now, now=place.was))
        yield from (Difference(key, Effect.REINTERPRETS, place) for place in changed_defaults(before, today))


def _problems_of(event_class: type[Event], published: Schema | None) -> Iterable[Problem]:
    key, contract = key_of(event_class), contract_of(event_class)
    if unreadable := narrowings(contract, readable_schema(event_class)):
        yield Problem(
            key, "it writes what it does not read back", "make both the same in the class", narrowings=unreadable
        )
    elif published is None:
        yield Problem(key, "it is not published", "run `counteract contracts publish`", publishing_helps=True)
    elif narrower := narrowings(published, contract):
        yield Problem(key, "what may be stored no longer fits", _version_up(event_class), narrowings=narrower)
    elif published != contract:
        remedy = "run `counteract contracts publish`"
        yield Problem(key, "it has changed, compatibly, and is not published", remedy, publishing_helps=True)


def _version_up(event_class: type[Event]) -> str:
    version = event_class.schema_version
    steps = ", ".join(f"{each}: …" for each in [*sorted(event_class.upcasters), version])
    name = "" if event_class.event_type == event_class.__name__ else f'name="{event_class.event_type}", '
    declared = f"class {event_class.__name__}(Event, {name}version={version + 1}, upcasters={{{steps}}})"
    return (
        f"declare version {version + 1} and an upcaster: {declared}. "
        f"Only if none was ever stored: delete {key_of(event_class).file_name} and publish again"
    )


def _unread(key: Key, readable: Iterable[Key]) -> Problem:
    versions = [other.version for other in readable if other.event_type == key.event_type]
    if versions:
        remedy = f"give the class of v{min(versions)} an upcaster from version {key.version}"
        if key.version > max(versions):
            remedy = f"bring back the class of v{key.version}: this code is older than what it may find"
    else:
        remedy = "keep its class, for what is stored stays stored"
    return Problem(key, "no class reads it any more", f"{remedy}. Only if none was ever stored: delete {key.file_name}")


def _lost(key: Key) -> Problem:
    remedy = f"restore {key.file_name} from version control, or write by hand what its events hold ({{}}: anything)"
    return Problem(key, "an upcaster reads it, but it is not published", remedy)


def _key_of(file: Path) -> Key:
    if not (found := _FILE.fullmatch(file.name)):
        raise ValueError("its name is not <EventType>.v<N>.json")
    return Key(unquote(found["event_type"]), int(found["version"]))


def _read(file: Path) -> Schema:
    schema = json.loads(file.read_bytes())
    if not isinstance(schema, dict):
        raise ValueError("it holds no JSON Schema")
    Draft202012Validator(schema)
    unknown = [each for each in _references(schema) if each.removeprefix(REFERENCE) not in schema.get("$defs", {})]
    if unknown:
        raise ValueError(f"it refers to {unknown[0]}, which is not there")
    return schema


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, dict) and isinstance(value.get("$ref"), str):
        yield value["$ref"]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _references(each)


def _text(contract: Schema) -> str:
    return json.dumps(contract, indent=2, ensure_ascii=False, sort_keys=True) + "\n"

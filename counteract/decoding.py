"""Reads stored events, whatever their version, as instances of today's classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from counteract.errors import UnknownEventType, UnreadableEvent
from counteract.messages import Event, Upcaster
from counteract.mistakes import mistakes

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Reader(Generic[E]):
    """Reads the events that are stored under one name and version."""

    event_class: type[E]
    upcasters: Sequence[Upcaster] = ()
    """The upcasters from the stored version to that of the class, in order."""

    def read(self, version: int, data: str) -> E:
        """The event whose `data`, JSON text, has this version. Raises UnreadableEvent."""
        try:
            # What `model_validate_json` calls, which takes half as long again to look at its own arguments.
            validator = self.event_class.__pydantic_validator__
            event: E = validator.validate_json(self._upcast(version, data) if self.upcasters else data)
            return event
        except ValidationError as error:
            problems = [{"loc": each.location, "msg": each.what, "type": each.type} for each in mistakes(error)]
            raise UnreadableEvent(self.event_class.event_type, version, problems) from None

    def _upcast(self, stored: int, data: str) -> bytes:
        try:
            content = from_json(data)
        except ValueError:
            problem = "it holds a number of more than 4300 digits, or nests too deeply"
            raise UnreadableEvent(self.event_class.event_type, stored, [{"loc": (), "msg": problem}]) from None
        for version, upcaster in enumerate(self.upcasters, start=stored):
            try:
                content = upcaster(content)
            except Exception as error:
                # Without the error's text: it may quote the data.
                problem = f"its upcaster from version {version} raised {type(error).__name__}"
                raise UnreadableEvent(self.event_class.event_type, stored, [{"loc": (), "msg": problem}]) from None
        return to_json(content)


Readers = Mapping[tuple[str, int], Reader[E]]
"""Readers by stored name and version."""


def readers_of(classes: Iterable[type[E]]) -> tuple[Readers[E], Sequence[str]]:
    """A reader for every version that these classes can read, and the problems of these classes."""
    readers: dict[tuple[str, int], Reader[E]] = {}
    problems = []
    for each in classes:
        steps = [each.upcasters[version] for version in sorted(each.upcasters)]
        first = each.schema_version - len(steps)
        for version in range(first, each.schema_version + 1):
            known = readers.setdefault((each.event_type, version), Reader(each, steps[version - first :]))
            if known.event_class is not each:
                both = f"{known.event_class.__qualname__} and {each.__qualname__}"
                problems.append(f"{both} both read what is stored as {each.event_type} v{version}")
    for name, newest in {name: max(v for n, v in readers if n == name) for name, _ in readers}.items():
        if unread := [version for version in range(1, newest) if (name, version) not in readers]:
            missing = " and ".join(f"v{version}" for version in unread)
            problems.append(f"{name} v{newest} leaves {missing} unread: give it upcasters={{{unread[0]}: …}}")
    return readers, problems


def decode_event(readers: Readers[E], event_type: str, schema_version: int, data: str) -> E:
    """The event of its class of today. Raises UnknownEventType, UnreadableEvent."""
    reader = readers.get((event_type, schema_version))
    if reader is None:
        raise UnknownEventType(event_type, schema_version, [version for name, version in readers if name == event_type])
    return reader.read(schema_version, data)

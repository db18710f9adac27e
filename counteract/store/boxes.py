"""Boxes: the sealed fields in an event's data.

A box is bound to its event, to its field and to its subject. In another event, stream, type or field, or under another
subject's name, it does not open. A box of an earlier release has no `v`, and is bound to its event's type and its field
alone.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from pydantic_core import from_json, to_json

from counteract.errors import PersonalDataLocked, SealedByNewerRelease
from counteract.messages import StreamId
from counteract.store.master_key import SubjectKey

SEALED = "$sealed"
# The mark stands in JSON as a key, or as the whole of a string: inside a longer string its quotes would be escaped.
_MARK = f'"{SEALED}"'
_VERSION = 2

Box = Mapping[str, Any]


class Living(NamedTuple):
    """A subject's key that was not destroyed, unwrapped, with its id and its subject."""

    key_id: UUID
    key: SubjectKey
    subject: str


@dataclass(frozen=True, slots=True)
class Place:
    """The event that a box is in."""

    stream: StreamId
    event_id: UUID
    event_type: str

    def binding(self, field: str, subject: str) -> bytes:
        """The bytes that a box in this field is bound to: different for every event, field and subject."""
        return to_json([_VERSION, *self.stream, str(self.event_id), self.event_type, field, subject])

    def binding_before(self, field: str) -> bytes:
        """The bytes that a box of an earlier release is bound to."""
        return f"{self.event_type}.{field}".encode()


def may_hold_boxes(data: str) -> bool:
    """Whether an event's JSON may have a box, so that it is worth parsing."""
    return _MARK in data


def has_sealed_name(data: str) -> bool:
    """Whether an event's JSON has a field of the form that is kept for sealing, be it a box or not."""
    return _MARK in data and bool(_named_sealed(content_of(data)))


def content_of(data: str) -> Any:
    """The parsed data of an event; None for JSON that PostgreSQL stores and this process cannot parse: decoding tells
    of that.
    """
    try:
        return from_json(data)
    except ValueError:
        return None


def boxes(content: Any) -> Mapping[str, Box]:
    """The sealed fields of an event's data.

    A field that looks sealed and holds no box is data like any other. Any role that appends can store one, and it must
    not stop readers of other events.
    """
    return {field: box for field, box in _named_sealed(content).items() if _is_box(box)}


def _named_sealed(content: Any) -> Mapping[str, Any]:
    fields = content.items() if isinstance(content, dict) else ()
    return {field: value[SEALED] for field, value in fields if isinstance(value, dict) and value.keys() == {SEALED}}


def _is_box(found: Any) -> bool:
    return isinstance(found, dict) and (_is_newer(found) or _is_known(found))


def _is_newer(found: Box) -> bool:
    """Whether a newer release sealed it: the rest of its form is not known here."""
    version = found.get("v", 1)
    return isinstance(version, int) and version > _VERSION


def _is_known(found: Box) -> bool:
    try:
        UUID(found["key"])
        b64decode(found["box"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return found.get("v", 1) in (1, _VERSION)


def key_of(box: Box, place: Place, field: str) -> UUID:
    """The id of the key that opens the box. Raises SealedByNewerRelease."""
    if _is_newer(box):
        raise SealedByNewerRelease(f"{place.event_type}.{field} was sealed by a newer release: update this process")
    return UUID(box["key"])


def sealed(value: Any, place: Place, field: str, living: Living) -> dict[str, Box]:
    """The JSON value that is stored in place of a field's value."""
    box = living.key.seal(to_json(value), place.binding(field, living.subject), place.event_id)
    return {SEALED: {"v": _VERSION, "key": str(living.key_id), "box": b64encode(box).decode()}}


def opened(box: Box, place: Place, field: str, living: Living) -> Any:
    """The field's value. `living` is the key that `key_of` names. Raises PersonalDataLocked."""
    is_before = box.get("v", 1) == 1
    binding = place.binding_before(field) if is_before else place.binding(field, living.subject)
    try:
        return from_json(living.key.open(b64decode(box["box"]), binding))
    except (InvalidTag, ValueError):
        where = f"{place.event_type}.{field}"
        raise PersonalDataLocked(
            f"{where} was not sealed here with the key {living.key_id}: it was moved or changed since"
        ) from None

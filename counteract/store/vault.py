"""Seals the personal data of events as they are appended, and opens it as they are read.

A sealed field is stored as `{"$sealed": {"key": …, "box": …}}`: the id of its subject's key, and the ciphertext in base64.
The keys stand in `personal_keys`, wrapped by a master key that the database never sees. They are asked for anew at every
append and every read: what was forgotten a moment ago, through whatever process, stays so.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from msgspec.structs import replace
from pydantic_core import from_json, to_json
from uuid_utils.compat import uuid7

from counteract.errors import MasterKeyMissing, PersonalDataLocked
from counteract.messages import Event
from counteract.personal import FORGOTTEN, Forgotten
from counteract.store.connecting import Connection
from counteract.store.sealing import MASTER_KEY_VARIABLE, MasterKey, SubjectKey
from counteract.store.signing import Signature
from counteract.store.stored import StoredEvent

_SEALED = "$sealed"
# Only as a key, or as the whole of a string: inside one the quotes would be escaped.
_MARK = f'"{_SEALED}"'

_KEYS = "select key_id, wrapped_key from personal_keys where key_id = any (%s)"
_LIVING_KEYS = (
    "select subject, key_id, wrapped_key from personal_keys where subject = any (%s) and wrapped_key is not null"
)
# Two processes may meet a new subject at once: the first key stands, for both.
_ADD_KEYS = """
    insert into personal_keys (key_id, subject, wrapped_key)
    select * from unnest(%s::uuid[], %s::text[], %s::bytea[])
    on conflict (subject) where wrapped_key is not null do nothing
"""
_FORGET = "select forget_subject(%s)"


class _Living(NamedTuple):
    key_id: UUID
    key: SubjectKey


class Vault:
    """Without a master key, here or in the environment, nothing is sealed and nothing sealed is opened; all else works."""

    def __init__(self, master: MasterKey | None) -> None:
        self._master = master or MasterKey.from_environment()

    @property
    def signature(self) -> Signature | None:
        """For what only a process with the master key may have written."""
        return self._master.signature if isinstance(self._master, MasterKey) else None

    async def sealed(
        self, connection: Connection, events: Sequence[Event], ids: Sequence[UUID], data: Sequence[str]
    ) -> Sequence[str]:
        """The events' JSON with personal fields sealed. Raises PersonalDataLocked."""
        subjects = {_subject(event, field) for event in events for field in event.personal}
        if not subjects:
            return data
        keys = await self._living_keys(connection, sorted(subjects))
        return [
            _with_sealed_fields(event, event_id, text, keys) if event.personal else text
            for event, event_id, text in zip(events, ids, data, strict=True)
        ]

    async def opened(self, connection: Connection, names: Sequence[str], data: Sequence[str]) -> Sequence[str]:
        """The JSON of stored events of these types, with personal fields opened, or forgotten. Raises PersonalDataLocked."""
        contents = {place: from_json(text) for place, text in enumerate(data) if _MARK in text}
        key_ids = {UUID(box["key"]) for content in contents.values() for box in boxes(content).values()}
        if not key_ids:
            return data
        keys = await self._keys(connection, sorted(key_ids))
        return [
            _with_opened_fields(names[place], contents[place], keys) if place in contents else text
            for place, text in enumerate(data)
        ]

    async def forget(self, connection: Connection, subject: str) -> int:
        """Destroy the subject's keys; how many there were. Needs no master key."""
        row = await (await connection.execute(_FORGET, (subject,))).fetchone()
        return int(row[0]) if row else 0

    async def _living_keys(self, connection: Connection, subjects: list[str]) -> Mapping[str, _Living]:
        found = await self._find_living(connection, subjects)
        # More than once only where another process forgets a subject in between.
        while missing := [subject for subject in subjects if subject not in found]:
            ids = [uuid7() for _ in missing]
            wrapped = [self._known_master.new_key(key_id) for key_id in ids]
            await connection.execute(_ADD_KEYS, (ids, missing, wrapped))
            found = await self._find_living(connection, subjects)
        return found

    async def _find_living(self, connection: Connection, subjects: list[str]) -> Mapping[str, _Living]:
        rows = await (await connection.execute(_LIVING_KEYS, (subjects,))).fetchall()
        return {
            subject: _Living(key_id, self._known_master.unwrap(key_id, wrapped)) for subject, key_id, wrapped in rows
        }

    async def _keys(self, connection: Connection, key_ids: list[UUID]) -> Mapping[UUID, SubjectKey | None]:
        rows = await (await connection.execute(_KEYS, (key_ids,))).fetchall()
        return {
            key_id: None if wrapped is None else self._known_master.unwrap(key_id, wrapped) for key_id, wrapped in rows
        }

    @property
    def _known_master(self) -> MasterKey:
        if self._master is None:
            remedy = "`counteract personal new-key` prints a fresh one"
            raise MasterKeyMissing(f"personal data needs {MASTER_KEY_VARIABLE}: {remedy}")
        return self._master


async def opened_events(vault: Vault, connection: Connection, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
    """The same events, with personal data opened. Raises PersonalDataLocked."""
    boxed = [place for place, each in enumerate(events) if _MARK in each.data]
    if not boxed:
        return events
    names, sealed = zip(*((events[place].event_type, events[place].data) for place in boxed), strict=True)
    opened = list(events)
    for place, data in zip(boxed, await vault.opened(connection, names, sealed), strict=True):
        opened[place] = replace(events[place], data=data)
    return opened


def holds_boxes(data: str) -> bool:
    """Whether an event's JSON has what only sealing may put there."""
    return _MARK in data and bool(boxes(from_json(data)))


def boxes(content: Any) -> Mapping[str, Mapping[str, str]]:
    """The sealed fields of an event's data."""
    fields = content.items() if isinstance(content, dict) else ()
    return {name: value[_SEALED] for name, value in fields if isinstance(value, dict) and value.keys() == {_SEALED}}


def _with_sealed_fields(event: Event, event_id: UUID, text: str, keys: Mapping[str, _Living]) -> str:
    content = from_json(text)
    for field in event.personal:
        # What was read as forgotten and is appended again has nothing to seal.
        if not isinstance(getattr(event, field), Forgotten):
            key_id, key = keys[_subject(event, field)]
            box = key.seal(to_json(content[field]), _context(event.event_type, field), event_id)
            content[field] = {_SEALED: {"key": str(key_id), "box": b64encode(box).decode()}}
    return to_json(content).decode()


def _with_opened_fields(name: str, content: dict[str, Any], keys: Mapping[UUID, SubjectKey | None]) -> str:
    for field, box in boxes(content).items():
        content[field] = _opened(keys, box, f"{name}.{field}", _context(name, field))
    return to_json(content).decode()


def _opened(keys: Mapping[UUID, SubjectKey | None], box: Mapping[str, str], place: str, context: bytes) -> Any:
    key_id = UUID(box["key"])
    if key_id not in keys:
        # Not destroyed, which leaves a row behind, but lost: to call it forgotten would hide that.
        raise PersonalDataLocked(f"the key {key_id} of {place} is not in personal_keys: restore the table")
    key = keys[key_id]
    if key is None:
        return FORGOTTEN
    try:
        return from_json(key.open(b64decode(box["box"]), context))
    except InvalidTag:
        raise PersonalDataLocked(f"{place} was not sealed with the key {key_id}: it was changed since") from None


def _subject(event: Event, field: str) -> str:
    return str(getattr(event, event.personal[field]))


def _context(name: str, field: str) -> bytes:
    """What a box is bound to, so that it cannot be moved to another field."""
    return f"{name}.{field}".encode()

"""The vault: seals the personal data of events as they are appended, and opens it as they are read.

A sealed field is stored as `{"$sealed": {"v": …, "key": …, "box": …}}`: the id of its subject's key, and the ciphertext
in base64. The keys stand in `personal_keys`, wrapped by a master key that the database never sees. They are asked for
anew at every append and every read, so a subject that was forgotten a moment ago, through whatever process, stays so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec.structs import replace
from pydantic_core import from_json, to_json
from uuid_utils.compat import uuid7

from counteract.errors import MasterKeyMissing, PersonalDataLocked
from counteract.messages import Event
from counteract.personal import FORGOTTEN, Forgotten
from counteract.store.boxes import Box, Living, Place, boxes, content_of, key_of, may_hold_boxes, opened, sealed
from counteract.store.master_key import MASTER_KEY_VARIABLE, KeyWrapper, MasterKey, SubjectKey
from counteract.store.postgres.connect import Connection
from counteract.store.signatures import Signature
from counteract.store.stored import StoredEvent

_AT_ONCE = 32
"""The most requests to a key management service at once."""

_KEYS = "select key_id, subject, wrapped_key from personal_keys where key_id = any (%s)"
_LIVING_KEYS = (
    "select key_id, subject, wrapped_key from personal_keys where subject = any (%s) and wrapped_key is not null"
)
# Two processes may meet a new subject at once: the first key stands, for both.
_ADD_KEYS = """
    insert into personal_keys (key_id, subject, wrapped_key, wrapped_by)
    select added.*, %s from unnest(%s::uuid[], %s::text[], %s::bytea[]) as added
    on conflict (subject) where wrapped_key is not null do nothing
"""
_FORGET = "select forget_subject(%s)"

Row = tuple[UUID, str, bytes | None]
Keys = Mapping[UUID, Living | None]
"""The keys by their ids; None for one that was destroyed."""


class Vault:
    """Seals and opens with one master key, by default that of the environment.

    Without a master key nothing is sealed, and nothing sealed is opened; everything else works.
    """

    def __init__(self, master: KeyWrapper | None) -> None:
        self._master = master or MasterKey.from_environment()

    @property
    def signature(self) -> Signature | None:
        """The signature that only processes with the master key can make; None without a master key in memory."""
        return self._master.signature if isinstance(self._master, MasterKey) else None

    async def sealed(
        self, connection: Connection, events: Sequence[Event], places: Sequence[Place], data: Sequence[str]
    ) -> Sequence[str]:
        """The events' JSON with personal fields sealed. Raises PersonalDataLocked, MasterKeyMissing."""
        subjects = {_subject(event, field) for event in events for field in event.personal}
        if not subjects:
            return data
        keys = await self._living_keys(connection, sorted(subjects))
        return [
            _with_sealed_fields(event, place, text, keys) if event.personal else text
            for event, place, text in zip(events, places, data, strict=True)
        ]

    async def opened(
        self, connection: Connection, data: Sequence[str], place_of: Callable[[int], Place]
    ) -> Sequence[str]:
        """The JSON of stored events, with personal fields opened, or forgotten. Raises PersonalDataLocked,
        MasterKeyMissing.
        """
        contents = {number: content_of(text) for number, text in enumerate(data) if may_hold_boxes(text)}
        contents = {number: content for number, content in contents.items() if boxes(content)}
        if not contents:
            return data
        found = [(place_of(number), *each) for number, content in contents.items() for each in boxes(content).items()]
        keys = await self._keys(connection, sorted({key_of(box, place, field) for place, field, box in found}))
        return [
            _with_opened_fields(place_of(number), contents[number], keys) if number in contents else text
            for number, text in enumerate(data)
        ]

    async def forget(self, connection: Connection, subject: str) -> int:
        """Destroy the subject's keys; the number of keys destroyed. Needs no master key."""
        row = await (await connection.execute(_FORGET, (subject,))).fetchone()
        return int(row[0]) if row else 0

    async def _living_keys(self, connection: Connection, subjects: list[str]) -> Mapping[str, Living]:
        found = await self._find_living(connection, subjects)
        # Repeated only where another process forgets a subject in between.
        while missing := [subject for subject in subjects if subject not in found]:
            master, ids = self._known_master, [uuid7() for _ in missing]
            wrapped = await self._all(master.wrap(SubjectKey.new(), key_id.bytes) for key_id in ids)
            await connection.execute(_ADD_KEYS, (master.name, ids, missing, wrapped))
            found = await self._find_living(connection, subjects)
        return found

    async def _find_living(self, connection: Connection, subjects: list[str]) -> Mapping[str, Living]:
        rows = await (await connection.execute(_LIVING_KEYS, (subjects,))).fetchall()
        living = await self._unwrapped(rows)
        return {each.subject: each for each in living.values() if each}

    async def _keys(self, connection: Connection, key_ids: list[UUID]) -> Keys:
        return await self._unwrapped(await (await connection.execute(_KEYS, (key_ids,))).fetchall())

    async def _unwrapped(self, rows: Sequence[Any]) -> Keys:
        living = [row for row in rows if row[2] is not None]
        secrets = await self._all(self._known_master.unwrap(wrapped, key_id.bytes) for key_id, _, wrapped in living)
        keys: dict[UUID, Living | None] = {key_id: None for key_id, *_ in rows}
        for (key_id, subject, _), secret in zip(living, secrets, strict=True):
            keys[key_id] = Living(key_id, SubjectKey(secret), subject)
        return keys

    async def _all(self, asked: Iterable[Any]) -> list[bytes]:
        """All answers: several requests at once to a service, and one after the other in memory,
        which takes less time.
        """
        if isinstance(self._master, MasterKey):
            return [await each for each in asked]
        turns = asyncio.Semaphore(_AT_ONCE)

        async def in_turn(each: Any) -> bytes:
            async with turns:
                answer: bytes = await each
                return answer

        return await asyncio.gather(*map(in_turn, asked))

    @property
    def _known_master(self) -> KeyWrapper:
        if self._master is None:
            remedy = "`counteract personal new-key` prints a fresh one"
            raise MasterKeyMissing(f"personal data needs {MASTER_KEY_VARIABLE}: {remedy}")
        return self._master


async def opened_events(vault: Vault, connection: Connection, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
    """The same events, with personal data opened. Raises PersonalDataLocked."""
    boxed = [number for number, each in enumerate(events) if may_hold_boxes(each.data)]
    if not boxed:
        return events

    def place_of(number: int) -> Place:
        event = events[boxed[number]]
        return Place(event.stream, event.event_id, event.event_type)

    found = list(events)
    texts = await vault.opened(connection, [events[number].data for number in boxed], place_of)
    for number, data in zip(boxed, texts, strict=True):
        found[number] = replace(events[number], data=data)
    return found


def _with_sealed_fields(event: Event, place: Place, text: str, keys: Mapping[str, Living]) -> str:
    content = from_json(text)
    for field in event.personal:
        # A field that was read as forgotten, and is appended again, has nothing to seal.
        if not isinstance(getattr(event, field), Forgotten):
            written = _written_name(event, field)
            content[written] = sealed(content[written], place, written, keys[_subject(event, field)])
    return to_json(content).decode()


def _with_opened_fields(place: Place, content: dict[str, Any], keys: Keys) -> str:
    for field, box in boxes(content).items():
        content[field] = _opened(place, field, box, keys)
    return to_json(content).decode()


def _opened(place: Place, field: str, box: Box, keys: Keys) -> Any:
    key_id = key_of(box, place, field)
    if key_id not in keys:
        # A destroyed key leaves a row behind, so this one is lost: to call the field forgotten would hide that.
        where = f"{place.event_type}.{field}"
        raise PersonalDataLocked(f"the key {key_id} of {where} is not in personal_keys: restore the table")
    key = keys[key_id]
    return FORGOTTEN if key is None else opened(box, place, field, key)


def _subject(event: Event, field: str) -> str:
    return str(getattr(event, event.personal[field]))


def _written_name(event: Event, field: str) -> str:
    """The name under which the field stands in JSON."""
    declared = type(event).model_fields[field]
    return declared.serialization_alias or declared.alias or field

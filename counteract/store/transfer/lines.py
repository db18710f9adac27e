"""Events as lines of JSON, one event a line: the format that an export writes and an import reads.

    {"event_id": "…", "aggregate_type": "account", "aggregate_id": "ann", "event_type": "Deposited", "event_data": {…}}

`schema_version` is 1 and `metadata` empty where they are left out; `created_at` becomes the event's `occurred_at`.
`position` and `version`, which an export has as well, are for people only: an import gives new ones.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import msgspec

from counteract.errors import InvalidImport
from counteract.store.postgres.event_store import PostgresEventStore
from counteract.store.stored import PAGE_BYTES, WEIGHT

OCCURRED_AT = "occurred_at"
"""The key in an event's metadata of the time that it had where it was imported from."""

_PAGE = 1000
# Lines that are parsed before other tasks get their turn: the server must not run out of work meanwhile.
_TURN = 50
_BATCH_BYTES = 32 * 1024 * 1024
# Written by the database, whose text of a number has every digit that is stored.
_EXPORT = f"""
    select position, event_line(e) from (
        select position, weight, sum(weight) over (order by position rows unbounded preceding) as bytes
        from (
            select position, {WEIGHT} as weight from events
            where position > %s and position <= %s order by position limit %s
        ) as page
    ) as weighed join events e using (position) where bytes - weight < {PAGE_BYTES} order by position
"""  # noqa: S608 - constants


class _Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One event. Its data and metadata stay the text that they are: a number keeps its digits."""

    event_id: str
    aggregate_type: str
    aggregate_id: str
    event_type: Annotated[str, msgspec.Meta(min_length=1)]
    event_data: msgspec.Raw
    schema_version: Annotated[int, msgspec.Meta(ge=1, le=2**15 - 1)] = 1
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    created_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    position: int | None = None
    version: int | None = None


MOST_BYTES = 64 * 1024 * 1024
"""The most bytes of an event's data.

They are far above an append's limit, which a store may have raised. Exported data has more bytes than was appended, for
PostgreSQL writes blanks into it, and sealed fields are longer than their content.
"""


class Row(msgspec.Struct, frozen=True, gc=False):
    """An event as it goes into the table.

    The garbage collector does not look after it: batches of objects that count for it make it go over the whole process
    again and again.
    """

    event_id: str
    aggregate_type: str
    aggregate_id: str
    event_type: str
    schema_version: int
    event_data: str
    metadata: str

    @property
    def stream(self) -> tuple[str, str]:
        """The stream, as aggregate type and id."""
        return self.aggregate_type, self.aggregate_id

    @property
    def columns(self) -> tuple[str, str, str, str, int, str]:
        """All parts but the metadata."""
        return self.event_id, *self.stream, self.event_type, self.schema_version, self.event_data

    @property
    def content(self) -> tuple[Any, ...]:
        """The parts by which events with the same id are compared, as an append does: metadata may differ."""
        return *self.stream, self.event_type, self.schema_version, _parsed(self.event_data)


def _parsed(text: str) -> Any:
    """The parsed text; the text itself where it holds numbers that PostgreSQL takes, and this process cannot parse."""
    try:
        return msgspec.json.decode(text)
    except ValueError:
        return text


@dataclass(slots=True)
class Batch:
    """Events that are stored together or not at all."""

    rows: list[Row] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """The number of each row's line, from 1."""
    lines: int = 0
    """The lines taken, with those that are empty, or repeat another line of the batch."""
    bytes: int = 0


async def batches(lines: Iterable[bytes], size: int) -> AsyncGenerator[Batch, None]:
    """Batches of `size` lines, or fewer where they are long.

    Other tasks get their turns meanwhile; a thread would slow down the task that writes to the server by more than it
    saves. Raises InvalidImport, which names every bad line of the batch that it comes to.
    """
    numbered = enumerate(lines, start=1)
    while (batch := await _batch(islice(numbered, size))).lines:
        yield batch


async def _batch(numbered: Iterator[tuple[int, bytes]]) -> Batch:
    batch = Batch()
    problems: list[str] = []
    while batch.bytes < _BATCH_BYTES and (taken := list(islice(numbered, _TURN))):
        problems += _add(batch, taken)
        await asyncio.sleep(0)
    if len({row.event_id for row in batch.rows}) < len(batch.rows):
        problems += _leave_out_repeats(batch)
    if problems:
        raise InvalidImport(problems)
    return batch


def _add(batch: Batch, taken: Sequence[tuple[int, bytes]]) -> list[str]:
    """Take in the lines; what is wrong with some of them."""
    problems = []
    for number, line in taken:
        batch.bytes += len(line)
        try:
            if not line.isspace():
                batch.rows.append(_row(line))
                batch.numbers.append(number)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    batch.lines += len(taken)
    return problems


def _leave_out_repeats(batch: Batch) -> list[str]:
    """Leave out lines that say the same again. Returns the problems of lines that reuse an id for something else."""
    first: dict[str, int] = {}
    problems = []
    for place, row in enumerate(batch.rows):
        earlier = first.setdefault(row.event_id, place)
        if batch.rows[earlier].content != row.content:
            number = batch.numbers[earlier]
            problems.append(f"line {batch.numbers[place]}: event_id is that of line {number}, with other content")
    batch.rows = [batch.rows[place] for place in first.values()]
    batch.numbers = [batch.numbers[place] for place in first.values()]
    return problems


_decoder = msgspec.json.Decoder(_Line)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Written out, for a repeated group takes four times as long.
_is_uuid = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def _row(text: bytes) -> Row:
    """The event of a line. Raises ValueError, without the values: they may be personal."""
    # Parts that stay text are not looked into any further, so the line must be UTF-8 from the outset.
    try:
        line = _decoder.decode(text if text.isascii() else text.decode())
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    row = Row(
        line.event_id.lower(),
        line.aggregate_type,
        line.aggregate_id,
        line.event_type,
        line.schema_version,
        str(line.event_data, "utf-8"),
        _metadata(line.metadata, line.created_at),
    )
    _check(row)
    return row


def _metadata(given: msgspec.Raw, created_at: datetime | None) -> str:
    """The metadata with unescaped names, for an import looks for `$tags` in its text."""
    text = str(given, "utf-8")
    if created_at is None:
        return msgspec.json.encode(_members.decode(given)).decode() if "\\u" in text and text[:1] == "{" else text
    occurred_at = msgspec.Raw(msgspec.json.encode(created_at.astimezone(UTC)))
    return msgspec.json.encode({OCCURRED_AT: occurred_at} | _members.decode(given)).decode()


def _check(row: Row) -> None:
    if not _is_uuid(row.event_id):
        raise ValueError("event_id is no UUID, such as 01234567-89ab-7cde-8f01-23456789abcd")
    if row.event_data[:1] != "{" or row.metadata[:1] != "{":
        raise ValueError("event_data and metadata must be objects")
    if len(row.event_data) > MOST_BYTES // 4 and len(row.event_data.encode()) > MOST_BYTES:
        raise ValueError(f"event_data has more than {MOST_BYTES} bytes")
    if "\0" in row.aggregate_id or "\0" in row.aggregate_type or "\0" in row.event_type:
        raise ValueError("a name holds the character \\u0000, which PostgreSQL cannot store")


async def exported(store: PostgresEventStore, *, after: int = 0) -> AsyncIterator[Sequence[str]]:
    """Lines of the events after a position, in the global order, in pages: those that are there when it begins.

    Personal data is exported as it is stored, sealed: a store with its keys (the table `personal_keys`) can read it.
    """
    end = await store.high_water_mark()
    while after < end:
        async with store.connection() as connection:
            rows = await (await connection.execute(_EXPORT, (after, end, _PAGE))).fetchall()
        if not rows:
            return
        yield [line for _, line in rows]
        after = rows[-1][0]

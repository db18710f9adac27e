"""Limits: whatever could be stored but not read again, or not be indexed, is refused before it is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from counteract.errors import AppendTooLarge, InvalidEvent
from counteract.messages import StreamId
from counteract.storable import NO_UTF8, NUL

MAX_APPEND_STREAMS = 256
"""The most streams in one append. Each takes an entry of the lock table, which all sessions share; `append_events` has
the same limit.
"""
MAX_APPEND_EVENTS = 10_000
MAX_APPEND_BYTES = 16 * 1024 * 1024
"""The most bytes in one append, data and metadata together. That many take half a second, and 180 MiB of the server's
memory, as measured.
"""
MAX_APPEND_TAGS = 256
"""The most different tags and query items in one append. Each takes an entry of the lock table; `take_turns` has the
same limit.
"""
MAX_ID_BYTES = 1024
"""The most bytes of each part of a stream's id, of a correlation id, a tag and a checkpoint's name. All are indexed,
and an index takes 2704 bytes a row.
"""

# Beyond these limits pydantic writes JSON that it cannot read. Both cases are rare, so a text is only searched for a
# hint of them.
_LONG_NUMBER = re.compile(r"\d{4301}")
_DEEPEST = 199


def check_stream(stream: StreamId) -> None:
    """Raises InvalidEvent for a stream whose id cannot be stored."""
    _check_text(stream.aggregate_type, "the aggregate type of a stream")
    _check_text(stream.aggregate_id, "the aggregate id of a stream")


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raises InvalidEvent for a correlation id that cannot be indexed, and for `$tags`, which come from an event's
    class.
    """
    if "$tags" in metadata:
        raise InvalidEvent("metadata has the key $tags, a name that is kept for the tags of events")
    _check_text(str(metadata.get("correlation_id", "")), "the metadata's correlation_id")


def check_tag(tag: str) -> None:
    """Raises InvalidEvent for a text that is empty, too long or cannot be stored."""
    if not tag:
        raise InvalidEvent("a tag is empty: give it a name and a value, such as flight:LH400")
    _check_text(tag, "a tag")


def check_checkpoint(name: str, position: int) -> None:
    """Raises ValueError for a name or a position that cannot be kept."""
    if not name or len(name.encode(errors="replace")) > MAX_ID_BYTES or "\x00" in name:
        raise ValueError(f"a checkpoint's name has 1 to {MAX_ID_BYTES} bytes, without U+0000")
    if not 0 < position < 2**63:
        raise ValueError(f"a checkpoint is at {position}: count from 1")


def check_tags(tags: int, items: int) -> None:
    """Raises AppendTooLarge where different tags and query items together exceed MAX_APPEND_TAGS."""
    if tags + items > MAX_APPEND_TAGS:
        raise AppendTooLarge(
            f"an append takes at most {MAX_APPEND_TAGS} different tags and items of a query, this one has {tags + items}: split it"
        )


def check_counts(streams: int, events: int) -> None:
    """Raises AppendTooLarge for more streams than MAX_APPEND_STREAMS, or more events than MAX_APPEND_EVENTS."""
    for count, most, what in ((streams, MAX_APPEND_STREAMS, "streams"), (events, MAX_APPEND_EVENTS, "events")):
        if count > most:
            raise AppendTooLarge(f"an append takes at most {most} {what}, this one has {count}: split it")


def check_size(data: Sequence[str], metadata: Sequence[str], most: int) -> None:
    """Raises AppendTooLarge for more bytes than an append may have. `most` is the limit of one event, and of the
    metadata.
    """
    # One event cannot be split, so it fits in whatever its own limit is.
    limit = max(MAX_APPEND_BYTES, 2 * most)
    size = sum(map(size_of, data)) + sum(map(size_of, metadata))
    if size > limit:
        raise AppendTooLarge(f"an append takes at most {limit} bytes, this one has {size}: split it")


def size_of(text: str) -> int:
    """The size of a text in bytes, as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def check_readable(data: str, name: str) -> None:
    """Raises InvalidEvent for JSON that could be stored but never be read again."""
    suspect = data.count("[") + data.count("{") > _DEEPEST or (len(data) > 4300 and _LONG_NUMBER.search(data))
    if not suspect:
        return
    try:
        from_json(data)
    except ValueError as error:
        raise InvalidEvent(
            f"{name} could not be read again: {error}; nest it less, or write the number as text"
        ) from None


def _check_text(text: str, name: str) -> None:
    if len(text) <= MAX_ID_BYTES and text.isascii() and "\x00" not in text:
        return
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidEvent(f"{name} {NO_UTF8}") from None
    if "\x00" in text:
        raise InvalidEvent(f"{name} {NUL}")
    if size > MAX_ID_BYTES:
        raise InvalidEvent(f"{name} has {size} bytes, more than {MAX_ID_BYTES}: give a shorter one")

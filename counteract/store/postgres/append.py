"""The SQL functions that append, and their parameters, also for statements that do more in the same round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json
from uuid_utils.compat import uuid7

from counteract.errors import InvalidEvent
from counteract.messages import Event
from counteract.storable import NOT_FINITE, NUL, Unstorable, check_equal, not_json
from counteract.store.boxes import has_sealed_name
from counteract.store.expect import StreamChange
from counteract.store.limits import (
    check_counts,
    check_metadata,
    check_readable,
    check_size,
    check_stream,
    check_tags,
    size_of,
)
from counteract.store.tags import TAGS, tagged, tags_of

MAX_EVENT_BYTES = 1024 * 1024
"""The default limit of one event as JSON."""


class AppendArguments(NamedTuple):
    """The parameters of the SQL function append_events, in order: what is expected of each stream, then the events."""

    aggregate_types: Sequence[str]
    aggregate_ids: Sequence[str]
    least: Sequence[int]
    most: Sequence[int]
    event_streams: Sequence[int]
    """The 1-based index of each event's stream."""
    event_ids: Sequence[UUID]
    event_types: Sequence[str]
    schema_versions: Sequence[int]
    data: Sequence[str]
    metadata: Sequence[str]

    @property
    def of_one_event(self) -> tuple[str, ...] | None:
        """The parameters of `APPEND_ONE`; None unless there is one event of one stream."""
        if len(self.event_ids) != 1 or len(self.aggregate_types) != 1:
            return None
        event = str(self.event_ids[0]), self.event_types[0], str(self.schema_versions[0]), self.data[0]
        return *self._first_stream, *event, self.metadata[0]

    @property
    def of_one_stream(self) -> tuple[str, ...] | None:
        """The parameters of `APPEND_TO_STREAM`; None unless there are events of one stream alone, without tags."""
        if not self.event_ids or len(self.aggregate_types) != 1 or self.has_tags:
            return None
        events = _plain(self.event_ids), _quoted(self.event_types), _plain(self.schema_versions), _quoted(self.data)
        return *self._first_stream, *events, self.metadata[0]

    @property
    def has_tags(self) -> bool:
        """Whether any event has tags: then the metadata of each names its own."""
        return f'"{TAGS}":' in self.metadata[0] if self.metadata else False

    @property
    def _first_stream(self) -> tuple[str, str, str, str]:
        return self.aggregate_types[0], self.aggregate_ids[0], str(self.least[0]), str(self.most[0])

    @property
    def literals(self) -> tuple[str, ...]:
        """The parameters as PostgreSQL writes arrays: a tenth of the time that the driver takes to dump lists."""
        streams = _quoted(self.aggregate_types), _quoted(self.aggregate_ids), _plain(self.least), _plain(self.most)
        events = _plain(self.event_streams), _plain(self.event_ids), _quoted(self.event_types)
        return *streams, *events, _plain(self.schema_versions), _quoted(self.data), _quoted(self.metadata)


APPEND_ONE = (
    "append_event(%s::text, %s::text, %s::integer, %s::integer, %s::uuid, %s::text, %s::smallint, %s::jsonb, %s::jsonb)"
)
"""The call that takes `AppendArguments.of_one_event`."""

APPEND_TO_STREAM = (
    "append_to_stream(%s::text, %s::text, %s::integer, %s::integer, "
    "%s::uuid[], %s::text[], %s::smallint[], %s::jsonb[], %s::jsonb)"
)
"""The call that takes `AppendArguments.of_one_stream`."""

APPEND_PLACEHOLDERS = (
    "%s::text[], %s::text[], %s::integer[], %s::integer[], "
    "%s::integer[], %s::uuid[], %s::text[], %s::smallint[], %s::jsonb[], %s::jsonb[]"
)
"""The placeholders for `AppendArguments`."""


def append_arguments(
    changes: Sequence[StreamChange],
    metadata: Mapping[str, Any],
    event_ids: Sequence[UUID] | None = None,
    *,
    max_event_bytes: int = MAX_EVENT_BYTES,
) -> AppendArguments:
    """The arguments for `APPEND_PLACEHOLDERS`, checked.

    `metadata` goes to every event, with the event's own tags. `event_ids` are those of all events in order, new ones by
    default. Raises InvalidEvent and AppendTooLarge, and ValueError where a stream occurs twice or the ids do not match
    the events in number.
    """
    streams = [change.stream for change in changes]
    if len(set(streams)) != len(streams):
        raise ValueError("an append names a stream twice: give its events in one change")
    for stream in streams:
        check_stream(stream)
    events = [(index, event) for index, change in enumerate(changes, start=1) for event in change.events]
    check_counts(len(streams), len(events))
    ids = [uuid7() for _ in events] if event_ids is None else list(event_ids)
    if len(ids) != len(events):
        raise ValueError(f"{len(ids)} event ids for {len(events)} events")
    data = [encode_event(event, max_event_bytes) for _, event in events]
    about = _about([event for _, event in events], encode_metadata(metadata, max_event_bytes))
    check_size(data, about, max_event_bytes)
    return AppendArguments(
        [stream.aggregate_type for stream in streams],
        [stream.aggregate_id for stream in streams],
        [change.least for change in changes],
        [change.most for change in changes],
        [index for index, _ in events],
        ids,
        [event.event_type for _, event in events],
        [event.schema_version for _, event in events],
        data,
        about,
    )


def _about(events: Sequence[Event], metadata: str) -> list[str]:
    """The metadata of each event: with its tags, where any event has some."""
    tags = [tags_of(event) for event in events]
    if not any(tags):
        return [metadata] * len(events)
    check_tags(len({tag for some in tags for tag in some}), 0)
    return [tagged(metadata, each) for each in tags]


def _plain(values: Sequence[object]) -> str:
    """An array literal of numbers or ids, which need no quotes."""
    return f"{{{','.join(map(str, values))}}}"


def _quoted(values: Sequence[str]) -> str:
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    return f"{{{','.join(quoted)}}}"


def encode_event(event: Event, max_bytes: int = MAX_EVENT_BYTES) -> str:
    """The event as JSON text. Raises InvalidEvent."""
    name = f"{event.event_type} v{event.schema_version}"
    data = _bounded(event, name, max_bytes)
    try:
        check_equal(event, data, type(event).__pydantic_validator__.validate_json)
    except Unstorable as error:
        raise InvalidEvent(f"{name} {error}") from None
    if has_sealed_name(data):
        raise InvalidEvent(f"{name} has a field that holds only $sealed, a name that is kept for personal data")
    return data


def encode_metadata(metadata: Mapping[str, Any], max_bytes: int = MAX_EVENT_BYTES) -> str:
    """The metadata as JSON text, under the limits that events have. Raises InvalidEvent."""
    check_metadata(metadata)
    return _bounded(metadata, "metadata", max_bytes)


def _bounded(value: Any, name: str, max_bytes: int) -> str:
    data = _json(value, name)
    if (size := size_of(data)) > max_bytes:
        raise InvalidEvent(
            f"{name} has {size} bytes, more than {max_bytes}: store what is large elsewhere and keep a link to it, "
            "or raise max_event_bytes"
        )
    return data


def _json(value: Any, name: str) -> str:
    try:
        data = to_json(value, inf_nan_mode="null").decode()
    except PydanticSerializationError as error:
        raise InvalidEvent(f"{name} {not_json(error)}") from None
    # NaN and infinities are written as null: the event would come back as another one.
    if "null" in data and not _is_finite(value.model_dump(warnings=False) if isinstance(value, BaseModel) else value):
        raise InvalidEvent(f"{name} {NOT_FINITE}")
    if "\\u0000" in data:
        _refuse_nul(data, name)
    check_readable(data, name)
    return data


def _is_finite(value: Any) -> bool:
    match value:
        case float():
            return isfinite(value)
        case dict():
            return all(map(_is_finite, value.values()))
        case list() | tuple() | set() | frozenset():
            return all(map(_is_finite, value))
    return True


def _refuse_nul(data: str, name: str) -> None:
    # An escaped backslash before "u0000" is harmless text.
    if "\\u0000" in data.replace("\\\\", ""):
        raise InvalidEvent(f"{name} {NUL}")

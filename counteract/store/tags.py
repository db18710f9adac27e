"""The tags of events: beside an event in its metadata, and in an index of their own."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_core import to_json

from counteract.errors import InvalidEvent
from counteract.messages import Event
from counteract.messages import tags_of as declared_tags
from counteract.store.limits import check_tag

TAGS = "$tags"
"""Their key in the metadata."""
MAX_TAGS = 64
"""Of one event."""


def tags_of(event: Event) -> Sequence[str]:
    """As its class says. Raises InvalidEvent for what cannot be stored, or found."""
    tags = declared_tags(event)
    for tag in tags:
        check_tag(tag)
    if len(tags) > MAX_TAGS:
        raise InvalidEvent(f"{event.event_type} has {len(tags)} tags, more than {MAX_TAGS}")
    return tags


def tagged(metadata: str, tags: Sequence[str]) -> str:
    """The metadata, as JSON, with the tags."""
    own = f'"{TAGS}":{to_json(tags).decode()}}}'
    return f"{{{own}" if metadata == "{}" else f"{metadata[:-1]},{own}"

"""The tags of events, in the metadata of each."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_core import to_json

from counteract.errors import InvalidEvent
from counteract.messages import Event
from counteract.messages import tags_of as declared_tags
from counteract.store.limits import check_tag

TAGS = "$tags"
"""The key of the tags in an event's metadata."""
MAX_TAGS = 64
"""The most tags of one event."""


def tags_of(event: Event) -> Sequence[str]:
    """The tags that the event's class gives it. Raises InvalidEvent for tags that cannot be stored, or too many."""
    tags = declared_tags(event)
    for tag in tags:
        check_tag(tag)
    if len(tags) > MAX_TAGS:
        raise InvalidEvent(f"{event.event_type} has {len(tags)} tags, more than {MAX_TAGS}")
    return tags


def tagged(metadata: str, tags: Sequence[str]) -> str:
    """The metadata, as JSON, with the tags added."""
    own = f'"{TAGS}":{to_json(tags).decode()}}}'
    return f"{{{own}" if metadata == "{}" else f"{metadata[:-1]},{own}"

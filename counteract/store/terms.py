"""What an append may depend on beside the versions of its streams: what a query finds, and a checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from counteract.messages import Event
from counteract.store.limits import check_checkpoint, check_tag
from counteract.store.stored import StoredEvent


@dataclass(frozen=True, slots=True)
class QueryItem:
    """Events of one of these types, or of any where there are none, with all of these tags."""

    types: frozenset[str] = frozenset()
    """Stored names, whatever their version."""
    tags: Sequence[str] = ()

    def finds(self, event_type: str, tags: Collection[str]) -> bool:
        """Whether an event of this stored name, with these tags, is among them."""
        return (not self.types or event_type in self.types) and all(tag in tags for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Query:
    """Events by their types and tags: those that one of its items finds. `Query.of(EmailClaimed, tags=["email:…"])`, and `|` for one or the other.

    A decision that read what it finds depends on it: an append `unless` somebody added to that.
    """

    items: Sequence[QueryItem]
    """One or more: ValueError for none, which would find nothing, and as a condition hold whatever happens."""

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError(
                "a query has no items, and would find nothing: write Query.of(…), which finds all without arguments"
            )

    @classmethod
    def of(cls, *types: type[Event] | str, tags: Iterable[str] = ()) -> Query:
        """Events of one of these types (any, if none is given) that have all of these tags: give the rarest first.

        Without tags it has no index, and finds what anybody appends: `unless` then waits for all that are appending.
        Raises InvalidEvent for what no tag can be.
        """
        given = tuple(tags)
        for tag in given:
            check_tag(tag)
        names = frozenset(each if isinstance(each, str) else each.event_type for each in types)
        return cls((QueryItem(names, given),))

    def __or__(self, other: Query) -> Query:
        return Query((*self.items, *other.items))

    def since(self, position: int) -> Since:
        """What it finds after that position: for an append's `unless`."""
        return Since(self, position)

    def finds(self, event: StoredEvent) -> bool:
        """Whether one of its items finds the event, which need not be stored."""
        tags = event.tags
        return any(item.finds(event.event_type, tags) for item in self.items)

    def terms(self) -> list[dict[str, Any]]:
        """Its items as the SQL function append_on_terms takes them."""
        return [{"types": sorted(item.types), "tags": list(item.tags)} for item in self.items]

    @property
    def is_by_tags(self) -> bool:
        """Each of its items has some."""
        return all(item.tags for item in self.items)


@dataclass(frozen=True, slots=True)
class Since:
    """What a query finds after a position: up to there, all that it finds must be settled, as with one that `find` returned for this
    query, that `read` returned, or a high water mark."""

    query: Query
    position: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a query found."""

    events: Sequence[StoredEvent]
    """In the global order."""
    since: Since
    """Anything more that the query finds: an append that depends on this goes `unless=found.since`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a consumer has come in whatever it reads, kept in the transaction of what it appends: it does so once for each position.

    Raises ValueError for a name or a position that cannot be kept.
    """

    name: str
    position: int
    """From 1, and beyond the one before."""
    after: int | None = None
    """The one before, where that is known: 0 for none. None: any."""

    def __post_init__(self) -> None:
        check_checkpoint(self.name, self.position)


def terms_of(unless: Since | None, checkpoint: Checkpoint | None) -> str:
    """For the SQL function append_on_terms, as JSON."""
    terms: dict[str, Any] = {}
    if unless is not None:
        terms |= {"query": unless.query.terms(), "after": unless.position}
    if checkpoint is not None:
        kept = {"name": checkpoint.name, "position": checkpoint.position, "after": checkpoint.after}
        terms["checkpoint"] = kept
    return to_json(terms).decode()

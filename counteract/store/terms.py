"""Terms: what an append depends on beside the versions of its streams, a query's result and a checkpoint."""

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
    """Events of one of these types (of any, if there are none) that have all of these tags."""

    types: frozenset[str] = frozenset()
    """Stored names, whatever their version."""
    tags: Sequence[str] = ()

    def finds(self, event_type: str, tags: Collection[str]) -> bool:
        """Whether the item finds an event of this stored name with these tags."""
        return (not self.types or event_type in self.types) and all(tag in tags for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Query:
    """Events by their types and tags: those that at least one of its items finds.

    `Query.of(EmailClaimed, tags=["email:…"])` makes one, and `|` joins two. An append depends on what a query found by
    `unless`.
    """

    items: Sequence[QueryItem]
    """At least one item. ValueError without any: such a query would find nothing, and as a condition always hold."""

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError(
                "a query has no items, and would find nothing: write Query.of(…), which finds all without arguments"
            )

    @classmethod
    def of(cls, *types: type[Event] | str, tags: Iterable[str] = ()) -> Query:
        """A query for events of one of these types (of any, if none is given) that have all of these tags: give the
        rarest first.

        Without tags it has no index, and finds what anybody appends: `unless` then waits for all appends under way.
        Raises InvalidEvent for a text that no tag can be.
        """
        given = tuple(tags)
        for tag in given:
            check_tag(tag)
        names = frozenset(each if isinstance(each, str) else each.event_type for each in types)
        return cls((QueryItem(names, given),))

    def __or__(self, other: Query) -> Query:
        return Query((*self.items, *other.items))

    def since(self, position: int) -> Since:
        """The events that the query finds after that position, for an append's `unless`."""
        return Since(self, position)

    def finds(self, event: StoredEvent) -> bool:
        """Whether one of its items finds the event, which need not be stored."""
        tags = event.tags
        return any(item.finds(event.event_type, tags) for item in self.items)

    def terms(self) -> list[dict[str, Any]]:
        """The items as the SQL function append_on_terms takes them."""
        return [{"types": sorted(item.types), "tags": list(item.tags)} for item in self.items]

    @property
    def is_by_tags(self) -> bool:
        """Whether each of the items has tags."""
        return all(item.tags for item in self.items)


@dataclass(frozen=True, slots=True)
class Since:
    """The events that a query finds after a position.

    Up to the position, everything that the query finds must be settled: take one that `find` returned for this query,
    that `read` returned, or a high water mark.
    """

    query: Query
    position: int


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a query."""

    events: Sequence[StoredEvent]
    """All of them, in the global order."""
    since: Since
    """Anything more that the query finds. An append that depends on this result has `unless=found.since`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The position that a consumer has come to in whatever it reads, kept in the transaction of the events that it
    appends.

    So it appends once for each position. Raises ValueError for a name or a position that cannot be kept.
    """

    name: str
    position: int
    """Counted from 1, and beyond the position before."""
    after: int | None = None
    """The position before, where it is known; 0 where there was none. None admits any."""

    def __post_init__(self) -> None:
        check_checkpoint(self.name, self.position)


def terms_of(unless: Since | None, checkpoint: Checkpoint | None) -> str:
    """The terms as the SQL function append_on_terms takes them: JSON."""
    terms: dict[str, Any] = {}
    if unless is not None:
        terms |= {"query": unless.query.terms(), "after": unless.position}
    if checkpoint is not None:
        kept = {"name": checkpoint.name, "position": checkpoint.position, "after": checkpoint.after}
        terms["checkpoint"] = kept
    return to_json(terms).decode()

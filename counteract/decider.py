"""State from events: a decider names a category of streams and folds their events. Decisions are pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Generic, TypeVar, get_args
from weakref import WeakSet

from counteract.decoding import Readers, readers_of
from counteract.errors import ConfigurationError
from counteract.messages import Event, StreamId

S = TypeVar("S")
E = TypeVar("E", bound=Event)


# Compared by identity: what is kept for a decider is kept for its code.
@dataclass(frozen=True, eq=False)
class Decider(Generic[S, E]):
    """One kind of aggregate: `Decider("stock-item", initial=StockItem(), evolve=evolve, events=StockEvent)`."""

    aggregate_type: str
    initial: S = field(kw_only=True)
    evolve: Callable[[S, E], S] = field(kw_only=True)
    events: Any = field(kw_only=True)
    """The event class, or the union of event classes, that these streams hold."""
    version: str = field(default="", kw_only=True)
    """The version of what `evolve` goes by that is no code, such as a table that it reads from a file.

    Snapshots of another version are not used.
    """
    readers: Readers[E] = field(init=False, repr=False)
    """The readers of stored events, by name and schema version."""

    def __post_init__(self) -> None:
        classes = get_args(self.events) or (self.events,)
        problems = [f"{each!r} is not an Event class" for each in classes if not _is_event(each)]
        readers, unreadable = readers_of(filter(_is_event, classes))
        if problems := [*problems, *unreadable]:
            raise ConfigurationError(f"decider {self.aggregate_type!r} is declared wrongly", problems)
        object.__setattr__(self, "readers", readers)
        _deciders.add(self)

    @property
    def event_classes(self) -> Sequence[type[E]]:
        """The classes of its events, as declared."""
        return get_args(self.events) or (self.events,)

    def stream(self, aggregate_id: str) -> StreamId:
        """The stream of one aggregate of this kind."""
        return StreamId(self.aggregate_type, aggregate_id)

    def fold(self, events: Iterable[E], state: S | None = None) -> S:
        """The state after `events`, from the initial one or from `state`."""
        return reduce(self.evolve, events, self.initial if state is None else state)


_deciders: WeakSet[Decider[Any, Any]] = WeakSet()


def event_classes_beside(event_class: type[Event]) -> frozenset[type[Event]]:
    """All event classes of those deciders of this process that declare this one."""
    declared = [decider.event_classes for decider in _deciders]
    return frozenset(each for classes in declared if event_class in classes for each in classes)


def vocabulary_of(event_classes: Iterable[type[Event]]) -> dict[str, frozenset[str]]:
    """The stored names, by aggregate type, that deciders of this process know which declare one of these classes."""
    wanted = set(event_classes)
    known: dict[str, frozenset[str]] = {}
    for decider in _deciders:
        if not wanted.isdisjoint(decider.event_classes):
            names = frozenset(name for name, _ in decider.readers)
            known[decider.aggregate_type] = known.get(decider.aggregate_type, frozenset()) | names
    return known


def aggregate_types_of(event_class: type[Event]) -> frozenset[str]:
    """The aggregate types whose deciders, in this process, declare the event; empty where none does."""
    return frozenset(decider.aggregate_type for decider in _deciders if event_class in decider.event_classes)


def _is_event(candidate: object) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, Event)

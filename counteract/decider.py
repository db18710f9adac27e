"""State from events: a decider names a category of streams and folds their events. Pure; decisions are plain functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Generic, TypeVar, get_args

from counteract.errors import ConfigurationError
from counteract.messages import Event, StreamId

S = TypeVar("S")
E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Decider(Generic[S, E]):
    """One kind of aggregate: `Decider("stock-item", initial=StockItem(), evolve=evolve, events=StockEvent)`."""

    aggregate_type: str
    initial: S = field(kw_only=True)
    evolve: Callable[[S, E], S] = field(kw_only=True)
    events: Any = field(kw_only=True)
    """The event class, or the union of event classes, that these streams hold."""
    by_name: dict[tuple[str, int], type[E]] = field(init=False, repr=False)
    """The event classes by stored name and schema version."""

    def __post_init__(self) -> None:
        classes = get_args(self.events) or (self.events,)
        problems = [f"{each!r} is not an Event class" for each in classes if not _is_event(each)]
        by_name: dict[tuple[str, int], type[E]] = {}
        for each in filter(_is_event, classes):
            name = (each.event_type, each.schema_version)
            if name in by_name:
                problems.append(f"{each.__name__} and {by_name[name].__name__} are both stored as {name[0]} v{name[1]}")
            by_name[name] = each
        if problems:
            raise ConfigurationError(f"decider {self.aggregate_type!r} is declared wrongly", problems)
        object.__setattr__(self, "by_name", by_name)

    def stream(self, aggregate_id: str) -> StreamId:
        """The stream of one aggregate of this kind."""
        return StreamId(self.aggregate_type, aggregate_id)

    def fold(self, events: Iterable[E], state: S | None = None) -> S:
        """The state after `events`, from the initial one or from `state`."""
        return reduce(self.evolve, events, self.initial if state is None else state)


def _is_event(candidate: object) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, Event)

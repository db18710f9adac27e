"""The smallest aggregate there is, for tests of the store and of what reads from it."""

from __future__ import annotations

from counteract import Decider, Event
from counteract.messages import StreamId


class Counted(Event):
    amount: int = 1
    note: str | None = None


class CounterReset(Event):
    pass


class Renamed(Event):
    """Of no decider: what a newer program may have stored."""

    name: str


def _evolve(total: int, event: Counted | CounterReset) -> int:
    return total + event.amount if isinstance(event, Counted) else 0


counters = Decider("counter", initial=0, evolve=_evolve, events=Counted | CounterReset)


def counter(name: str) -> StreamId:
    return counters.stream(name)

"""The aggregate to whose streams the suite appends."""

from __future__ import annotations

from typing import Any

from counteract.decider import Decider
from counteract.messages import Event, StreamId
from counteract.store import StreamChange
from counteract.store.expect import Expect


class Counted(Event):
    amount: int = 1
    note: str | None = None


class CountedMore(Event):
    """An event of no decider, such as a newer program may have stored."""

    amounts: list[int]


class CountedInWords(Event, name="Counted"):
    """An event that is stored under the name of another one, whose class it does not fit."""

    amount: str


class Measured(Event):
    whole: int = 0
    ratio: float = 0.0


class Noted(Event):
    note: Any


def _evolve(total: int, event: Counted) -> int:
    return total + event.amount


counters = Decider("contract-counter", initial=0, evolve=_evolve, events=Counted)


def counter(name: str) -> StreamId:
    return counters.stream(name)


A, B, C = counter("a"), counter("b"), counter("c")


def change(stream: StreamId, expect: Expect, *events: Event) -> StreamChange:
    return StreamChange(stream, expect.least, expect.most, events)

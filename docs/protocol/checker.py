"""Goes through every state, breadth first, so that what it finds has the fewest steps."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

from docs.protocol.state import Found, Label

S = TypeVar("S", bound=Hashable)


class Machine(Protocol[S]):
    """What can be checked: a start, the ways on, and what must hold."""

    def initial(self) -> S: ...

    def successors(self, state: S) -> Iterator[tuple[Label, S]]: ...

    def broken(self, state: S) -> str:
        """The safety promise that this state breaks; "" if none."""

    def ended(self, state: S) -> bool:
        """Whether this is an end, which must stay reachable from every state."""


@dataclass(frozen=True)
class Outcome:
    """What the search came to."""

    states: int
    found: Found | None
    exhausted: bool


NO_END = "no end can be reached any more"


class Search(Generic[S]):
    """One breadth-first search. `most` bounds the states, for a machine with a rule missing."""

    def __init__(self, machine: Machine[S], *, most: int = 1 << 31) -> None:
        self._machine, self._most = machine, most
        self._numbers: dict[S, int] = {}
        self._states: list[S] = []
        self._parents = array("l")
        self._next = array("l")
        self._offsets = array("l", [0])
        self._parts: dict[object, object] = {}

    def run(self) -> Outcome:
        self._meet(self._machine.initial(), -1)
        at = 0
        while at < len(self._states):
            state = self._states[at]
            if promise := self._machine.broken(state):
                return self._outcome(at, promise)
            if len(self._states) > self._most:
                return Outcome(len(self._states), None, exhausted=False)
            for _, after in self._machine.successors(state):
                if after != state:
                    self._next.append(self._meet(after, at))
            self._offsets.append(len(self._next))
            at += 1
        lost = self._without_end()
        return Outcome(len(self._states), None, exhausted=True) if lost is None else self._outcome(lost, NO_END)

    def _meet(self, state: S, parent: int) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            self._parents.append(parent)
        return number

    def _without_end(self) -> int | None:
        """The earliest state from which no end can be reached: backwards over all edges until nothing changes."""
        reaches = bytearray(self._machine.ended(state) for state in self._states)
        changed = True
        while changed:
            changed = False
            for at in range(len(self._states) - 1, -1, -1):
                if not reaches[at] and any(reaches[to] for to in self._next[self._offsets[at] : self._offsets[at + 1]]):
                    reaches[at] = changed = True
        lost = reaches.find(0)
        return None if lost < 0 else lost

    def _outcome(self, at: int, promise: str) -> Outcome:
        path = [at]
        while self._parents[path[-1]] >= 0:
            path.append(self._parents[path[-1]])
        path.reverse()
        labels = [self._label(before, after) for before, after in pairwise(path)]
        return Outcome(len(self._states), Found(promise, tuple(labels)), exhausted=True)

    def _label(self, before: int, after: int) -> Label:
        goal = self._states[after]
        return next(label for label, state in self._machine.successors(self._states[before]) if state == goal)

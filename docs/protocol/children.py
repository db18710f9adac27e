"""A saga whose step is a child saga: which of the two believes what, and on whose word.

The child is a saga of its own, and what happens inside it is the other environments' matter. Here it takes effect, and
ends on record as completed or compensated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from docs.protocol.state import COMPENSATED, COMPLETED, FORWARD, NO_RECORD, Label, put

NEVER_RECORD = "never"


class Child(NamedTuple):
    """One workflow of the child: a reset of the parent starts another."""

    mode: str
    """none, sent, running, failing, returned, failed."""
    effects: int


class ChildState(NamedTuple):
    """The parent and the children it started."""

    record: str
    """The row in `sagas` with the parent's command id."""
    owner: int
    """Which child made it; -1 for none."""
    children: tuple[Child, ...]
    knows: str
    """What the parent knows of its step: n, f, a, u, w, x."""
    at: int
    """Which child it waits for."""
    end: str
    resets: int


@dataclass(frozen=True)
class ChildMachine:
    """The parent's step, and up to two children for it."""

    rules: frozenset[str]

    def initial(self) -> ChildState:
        return ChildState(NO_RECORD, -1, (Child("none", 0), Child("none", 0)), "n", 0, "", 1)

    def ended(self, state: ChildState) -> bool:
        return bool(state.end)

    def broken(self, state: ChildState) -> str:
        effects = sum(child.effects for child in state.children)
        if effects > 1:
            return "the child has taken effect twice"
        if state.end == COMPLETED and not effects and not any(c.mode == "failing" for c in state.children):
            return "reported COMPLETED while ReserveRooms (a child), which it counts on, is undone"
        if state.end == COMPENSATED and effects and not any(c.mode == "failing" for c in state.children):
            return "reported COMPENSATED while ReserveRooms (a child) is in force"
        return ""

    def successors(self, state: ChildState) -> Iterator[tuple[Label, ChildState]]:
        if state.end:
            yield from self._children(state)
            return
        yield from self._parent(state)
        yield from self._children(state)
        if state.resets and state.knows != "n":
            # That the parent turned back is on its own record: a further run takes it over.
            knows = state.knows if state.knows in "uwx" else "n"
            yield ("parent is reset",), state._replace(knows=knows, at=1, resets=0)

    def _parent(self, state: ChildState) -> Iterator[tuple[Label, ChildState]]:
        if state.knows == "n":
            sent = put(state.children, state.at, Child("sent", 0))
            yield ("parent starts the child", state.at), state._replace(knows="f", children=sent)
        elif state.knows == "f":
            yield ("parent gets no answer",), state._replace(knows="u")
            yield from self._answers(state)
        elif state.knows == "u":
            yield from self._settle(state)
        elif state.knows == "a":
            yield ("parent completes",), state._replace(end=COMPLETED)
            yield ("parent turns back",), state._replace(knows="w")
        elif state.knows == "w":
            after = tuple(child._replace(effects=0) for child in state.children)
            yield ("parent undoes the child",), state._replace(knows="x", children=after)
        else:
            yield ("parent is compensated",), state._replace(end=COMPENSATED)

    def _answers(self, state: ChildState) -> Iterator[tuple[Label, ChildState]]:
        child = state.children[state.at]
        if child.mode == "returned":
            yield ("parent learns that the child completed",), state._replace(knows="a")
        elif child.mode == "failed":
            yield ("parent learns that the child failed",), state._replace(knows="x")

    def _settle(self, state: ChildState) -> Iterator[tuple[Label, ChildState]]:
        """Believes the record, and nothing else."""
        if state.record == COMPLETED:
            yield ("parent settles as happened",), state._replace(knows="w")
        elif state.record == NO_RECORD:
            # Without a record that says so, the child may yet begin.
            record = NEVER_RECORD if "E.never" in self.rules else NO_RECORD
            yield ("parent settles as never",), state._replace(knows="x", record=record)
        elif state.record in (NEVER_RECORD, COMPENSATED):
            yield ("parent settles as never",), state._replace(knows="x")
        elif "E.record" not in self.rules:
            yield ("parent takes silence for a no",), state._replace(knows="x")

    def _children(self, state: ChildState) -> Iterator[tuple[Label, ChildState]]:
        for at, child in enumerate(state.children):
            if child.mode == "sent":
                yield from self._begin(state, at)
            elif child.mode == "running":
                yield from self._run(state, at, child)
            elif child.mode == "failing":
                yield from self._fail(state, at)

    def _begin(self, state: ChildState, at: int) -> Iterator[tuple[Label, ChildState]]:
        if state.record == NO_RECORD or ("E.unique" not in self.rules and state.record != NEVER_RECORD):
            children = put(state.children, at, Child("running", 0))
            yield ("child begins", at), state._replace(children=children, record=FORWARD, owner=at)
        elif state.record != FORWARD:
            mode = "returned" if state.record == COMPLETED else "failed"
            yield ("child answers what stands", at), _with(state, at, mode)

    def _run(self, state: ChildState, at: int, child: Child) -> Iterator[tuple[Label, ChildState]]:
        if not child.effects:
            yield ("child takes effect", at), _with(state, at, "running", 1)
        elif state.record == FORWARD:
            yield ("child completes", at), _with(state._replace(record=COMPLETED), at, "returned", 1)
        yield ("child turns back", at), _with(state, at, "failing", child.effects)

    def _fail(self, state: ChildState, at: int) -> Iterator[tuple[Label, ChildState]]:
        undone = state._replace(record=COMPENSATED)
        yield ("child is compensated", at), _with(undone, at, "failed")
        if "E.result" not in self.rules:
            # Its code caught its own undoing, and returned as if nothing were the matter.
            yield ("child is compensated and returns", at), _with(undone, at, "returned")


def _with(state: ChildState, at: int, mode: str, effects: int = 0) -> ChildState:
    return state._replace(children=put(state.children, at, Child(mode, effects)))

"""A retriable past the pivot: refused, slow, corrected or skipped by a person, and the run reset meanwhile.

Its first command and the corrected one have ids of their own; their effect must be in force once, or as the person said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from docs.protocol.state import COMPLETED, INCOMPLETE, Label, put

Row = str
"""none, started, done, rejected, fenced, midway; of the first command and of the corrected one."""


class RetriableState(NamedTuple):
    """The saga past its pivot."""

    rows: tuple[Row, ...]
    effects: tuple[str, ...]
    """never, applied or barred."""
    calls: tuple[bool, ...]
    """Whether an attempt has begun that may call at any time."""
    held: tuple[str, ...]
    """What an attempt has been answered and not recorded."""
    sent: tuple[bool, ...]
    at: int
    """Which command the run waits for."""
    asks: str
    """What a person decided that waits for the fence: "", correct or skip."""
    skipped: bool
    """The run goes on without it."""
    given_up: bool
    """A person has said so, to this run or to one before."""
    end: str
    resets: int


@dataclass(frozen=True)
class RetriableMachine:
    """ArrangeShipment, external."""

    rules: frozenset[str]

    def initial(self) -> RetriableState:
        no = (False, False)
        return RetriableState(("none", "none"), ("never", "never"), no, ("", ""), no, 0, "", False, False, "", 1)

    def ended(self, state: RetriableState) -> bool:
        return bool(state.end)

    def broken(self, state: RetriableState) -> str:
        in_force = state.effects.count("applied")
        if in_force > 1:
            return "ArrangeShipment has taken effect twice"
        if state.given_up and in_force:
            return "ArrangeShipment is in force although a person has given it up"
        if state.end == COMPLETED and not state.skipped and not in_force:
            return "reported COMPLETED while ArrangeShipment, which it counts on, never happened"
        return ""

    def successors(self, state: RetriableState) -> Iterator[tuple[Label, RetriableState]]:
        for at in (0, 1):
            if state.sent[at]:
                yield from self._participant(state, at)
        if state.end:
            return
        if state.resets:
            yield ("is reset",), state._replace(at=0, asks="", skipped=False, resets=0)
        yield from self._run(state)

    def _run(self, state: RetriableState) -> Iterator[tuple[Label, RetriableState]]:
        at = state.at
        if state.skipped:
            yield ("completes",), state._replace(end=COMPLETED)
        elif state.given_up and "A8.step" in self.rules:
            yield ("takes over the skip",), state._replace(skipped=True)
        elif state.asks:
            yield from self._decided(state)
        elif not state.sent[at]:
            yield ("sends the retriable", at), state._replace(sent=put(state.sent, at, True))
        elif state.rows[at] == "done":
            yield ("completes",), state._replace(end=COMPLETED)
        else:
            # Refused, fenced, or merely slow: a person may always decide.
            if at == 0:
                yield ("person corrects",), state._replace(asks="correct")
            yield ("person skips",), state._replace(asks="skip")

    def _decided(self, state: RetriableState) -> Iterator[tuple[Label, RetriableState]]:
        """What a person gives up is fenced first, and its result taken if it was done."""
        at, named = state.at, "B3.correct" if state.asks == "correct" else "B3.skip"
        row, effect = state.rows[at], state.effects[at]
        if named not in self.rules or row in ("rejected", "fenced"):
            yield from self._carried_out(state)
        elif row == "none":
            yield ("fences the retriable", at), state._replace(rows=put(state.rows, at, "fenced"))
        elif row == "started":
            yield ("fences the retriable", at), state._replace(rows=put(state.rows, at, "midway"))
        elif row == "done":
            yield ("takes its result", at), state._replace(asks="")
        elif effect == "applied":
            yield ("finds that it happened", at), state._replace(rows=put(state.rows, at, "done"))
        else:
            barred = put(state.effects, at, "barred")
            yield ("bars the retriable", at), state._replace(rows=put(state.rows, at, "fenced"), effects=barred)

    def _carried_out(self, state: RetriableState) -> Iterator[tuple[Label, RetriableState]]:
        if state.asks == "correct":
            yield ("corrects",), state._replace(at=1, asks="")
        elif state.at == 0 and state.sent[1] and state.rows[1] != "fenced" and "B3.known" in self.rules:
            # The corrected command of an earlier run is on record of the saga: it is given up as well, unless it happened.
            yield ("gives up the correction too",), state._replace(at=1)
        elif "done" in state.rows and "A6.incomplete" in self.rules:
            # An earlier run did it under the corrected id, which this run's code did not come by.
            yield ("is incomplete",), state._replace(end=INCOMPLETE)
        else:
            yield ("skips",), state._replace(skipped=True, given_up=True)

    def _participant(self, state: RetriableState, at: int) -> Iterator[tuple[Label, RetriableState]]:
        row, effect = state.rows[at], state.effects[at]
        if row in ("none", "started"):
            begun = state._replace(rows=put(state.rows, at, "started"), calls=put(state.calls, at, True))
            yield ("retriable begins", at), begun
        if state.calls[at]:
            rest = state._replace(calls=put(state.calls, at, False))
            if effect == "barred":
                yield ("retriable is barred", at), rest
            else:
                applied = put(state.effects, at, "applied")
                yield ("retriable takes effect", at), rest._replace(effects=applied, held=put(state.held, at, "done"))
            if effect == "never":
                yield ("retriable is turned down", at), rest._replace(held=put(state.held, at, "rejected"))
        if state.held[at]:
            yield from self._record(state, at)

    def _record(self, state: RetriableState, at: int) -> Iterator[tuple[Label, RetriableState]]:
        rest = state._replace(held=put(state.held, at, ""))
        counts = state.held[at] == "done" or (not state.calls[at] and state.effects[at] == "never")
        if state.rows[at] == "started" and counts:
            yield ("retriable is recorded", at, state.held[at]), rest._replace(rows=put(state.rows, at, state.held[at]))
        else:
            yield ("retriable is in vain", at), rest

"""The moves of a saga's record. `docs/protocol` proves them; a test holds the two equal."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto

FORWARD, AT_PIVOT, PAST, TURNING = "forward", "at the pivot", "past the pivot", "turning back"
COMPLETED, COMPENSATED, NEVER = "completed", "compensated", "never"
STATES = (FORWARD, AT_PIVOT, PAST, TURNING, COMPLETED, COMPENSATED)


class Move(StrEnum):
    """The move that a statement makes which locks the record."""

    COMPENSATABLE = auto()
    """It is begun or recorded."""
    PIVOT_BEGUN = auto()
    PIVOT_DONE = auto()
    PIVOT_REFUSED = auto()
    PIVOT_SETTLED_DONE = auto()
    PIVOT_SETTLED_NEVER = auto()
    RETRIABLE = auto()
    """It is begun or recorded."""
    SINGLE_UNDO = auto()
    """The undo of a step that the saga goes on without meets the fence."""
    SINGLE_UNDO_RECORDED = auto()
    END_UNDO = auto()
    """An undo that belongs to the saga's end meets the fence."""
    END_UNDO_RECORDED = auto()
    CLAIM = auto()
    """Recovery takes the saga over."""
    COMPLETED = auto()
    """A saga without a pivot ends completed."""
    COMPLETED_PAST_PIVOT = auto()
    COMPENSATED = auto()


TRANSITIONS: Mapping[Move, Mapping[str, str]] = {
    Move.COMPENSATABLE: {FORWARD: FORWARD},
    Move.PIVOT_BEGUN: {FORWARD: AT_PIVOT, AT_PIVOT: AT_PIVOT},
    Move.PIVOT_DONE: {FORWARD: PAST, AT_PIVOT: PAST},
    Move.PIVOT_REFUSED: {FORWARD: FORWARD, AT_PIVOT: FORWARD},
    Move.PIVOT_SETTLED_DONE: {FORWARD: PAST, AT_PIVOT: PAST},
    # Whoever asks, the answer bars the pivot; it leads the record out only where that is at its pivot.
    Move.PIVOT_SETTLED_NEVER: {**{state: state for state in STATES}, AT_PIVOT: FORWARD},
    Move.RETRIABLE: {PAST: PAST},
    Move.SINGLE_UNDO: {FORWARD: FORWARD},
    Move.SINGLE_UNDO_RECORDED: {FORWARD: FORWARD, TURNING: TURNING},
    Move.END_UNDO: {FORWARD: TURNING, TURNING: TURNING},
    Move.END_UNDO_RECORDED: {TURNING: TURNING},
    Move.CLAIM: {FORWARD: TURNING, TURNING: TURNING},
    Move.COMPLETED: {FORWARD: COMPLETED},
    Move.COMPLETED_PAST_PIVOT: {PAST: COMPLETED},
    Move.COMPENSATED: {FORWARD: COMPENSATED, TURNING: COMPENSATED},
}
"""For each move, the states in which it is allowed, and where it leads."""

RULES: Mapping[Move, str] = {
    Move.PIVOT_BEGUN: "A3",
    Move.COMPLETED: "A1",
    Move.COMPLETED_PAST_PIVOT: "A1",
    Move.COMPENSATED: "A1",
}
"""The rule that a move breaks at a wrong time; A2 where none is named."""

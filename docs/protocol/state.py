"""What there is at one moment: the record, the rows, the effects, what is under way, and what the run knows.

Everything is an immutable tuple, so that a state is its own key. The words are those of the tables `sagas` and `commands`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

Message = tuple[Any, ...]
"""(what, step, epoch, …): sent once, it may be delivered any number of times at any later time."""
Label = tuple[Any, ...]
"""What happened between two states, for the story: (key, arguments…)."""

NO_RECORD, FORWARD, AT_PIVOT, PAST, TURNING = "none", "forward", "at the pivot", "past the pivot", "turning back"
COMPLETED, COMPENSATED, INCOMPLETE = "completed", "compensated", "incomplete"
ENDED = (COMPLETED, COMPENSATED)


class Record(NamedTuple):
    """The saga's row in `sagas`, or what was announced of it to a service with a database of its own."""

    state: str
    epoch: int


class Row(NamedTuple):
    """A command's row in `commands`, with the row of its undo (or settlement)."""

    status: str
    """none, started, done, rejected, fenced (never begun), midway (fenced after it had begun)."""
    begun: int
    """How often an external attempt has begun: 0, 1, or 2 for more."""
    marked: bool
    """A fence has met it as done: it is being undone, and is no answer any more."""
    undone: bool
    """Its undo is on record."""
    content: int
    """Which command it holds, where a further run may send another under the same id."""


NO_ROW = Row("none", 0, False, False, 0)

NEVER, APPLIED, UNDONE, BARRED, THEIRS = "never", "applied", "undone", "barred", "theirs"
"""An effect: not yet, in force, taken back, never to come (its undo or settlement told the provider so first), or a
person's, who took it over."""

DONE_HELD, FIRST_REFUSAL, LATER_REFUSAL, CHECKED = 1, 2, 4, 8
SINGLE_UNDO, END_UNDO, LATE_UNDO, LATE_MARK = 1, 2, 4, 8


class Attempts(NamedTuple):
    """Attempts of one step that are under way. An attempt that never goes on is one that died."""

    uncalled: int
    """External ones that have begun, each with one call to the provider before it."""
    fresh: bool
    """The only one of those is the first that Temporal has made of its message."""
    holding: int
    """Bits: what has been answered to an attempt that has not recorded it yet."""
    undoing: int
    """Bits: undos that have passed the fence, and may run the compensation at any time."""


NO_ATTEMPTS = Attempts(0, False, 0, 0)

NOT_SENT, IN_FLIGHT, ANSWERED, REFUSED, UNKNOWN, UNDOING, UNDONE_STEP = "n", "f", "a", "r", "u", "w", "x"
"""What a run knows of a step: its ledger, one letter a step."""


class Run(NamedTuple):
    """The workflow: its latest run."""

    mode: str
    """opening, forward, settling, turning, past, ending, over, dead."""
    number: int
    epoch: int
    way: int
    """Which branch its code takes: 0, or 1 for the other."""
    knows: str
    """One letter a step."""
    seen: int
    """Bits: steps that were on record when it opened, and may be in force."""
    turned: bool
    """Its history says that it has turned back."""


class Recovery(NamedTuple):
    """A recovery of the saga."""

    mode: str
    """idle, read, claimed, alone, turning."""
    knows: str
    """Of each step that it collected: u, w or x; n for the others."""


class Copy(NamedTuple):
    """What a standby holds that has fallen behind."""

    record: Record
    rows: tuple[Row, ...]
    effects: tuple[str, ...]
    reported: str
    relied: int


class State(NamedTuple):
    """One state of the model."""

    record: Record
    mirrors: tuple[Record, ...]
    rows: tuple[Row, ...]
    effects: tuple[str, ...]
    attempts: tuple[Attempts, ...]
    sent: frozenset[Message]
    run: Run
    recoveries: tuple[Recovery, ...]
    reported: str
    """What people were told: nothing, or how the saga ended."""
    relied: int
    """Bits: the steps that the run counted on which completed."""
    broken: str
    """A promise that this very transition broke."""
    resets: int
    """How many further runs are still to come, at most."""
    copy: Copy | None
    losses: int
    pruned: bool


def put(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    return (*items[:index], item, *items[index + 1 :])


def note(knows: str, step: int, letter: str) -> str:
    return knows[:step] + letter + knows[step + 1 :]


class Found(NamedTuple):
    """A broken promise, and how it came about."""

    promise: str
    labels: tuple[Label, ...]

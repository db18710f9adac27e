"""The worlds that the protocol is put into: which steps, what may go wrong, and how often. Each is exhausted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

COMPENSATABLE, PIVOT, RETRIABLE = "compensatable", "pivot", "retriable"


@dataclass(frozen=True)
class Step:
    """One command of the saga's code."""

    name: str
    kind: str = COMPENSATABLE
    external: bool = False
    database: int = 0
    """0 is the saga's own."""
    beside: bool = False
    """Runs in parallel with the step before it."""
    tolerated: bool = False
    """The code goes on without it where it fails."""
    ways: tuple[int, ...] = (0, 1)
    """The branches of the code that come by it."""
    refusable: bool = True
    again: bool = False
    """The step before it, under another id: where that was refused, a person may have it tried again."""


@dataclass(frozen=True)
class Environment:
    """What one exhaustive search goes through."""

    name: str
    about: str
    steps: tuple[Step, ...]
    resets: int = 0
    """Further runs, each a retry or a reset to any prefix of what the run before knew."""
    other_way: bool = False
    """A further run's code may take the other branch."""
    other_content: bool = False
    """A command of the other branch has another content under the same id."""
    recoveries: int = 1
    attempts: int = 1
    """External attempts of one step that are alive at once."""
    losses: int = 0
    """Times that the saga's database goes back to an earlier moment."""
    first_command_opens: bool = False
    prunes: bool = False
    skips: bool = False
    """The compensations always fail: a person skips them."""
    attempts_end: bool = False
    """No call outlives its attempt, and the provider knows nothing of an undo before its original."""
    hands_on: bool = False
    """A further run may continue as new before it has opened the saga."""
    conflicts: bool = False
    """What an external attempt records may lose to another writer: then its handler decides again."""

    late_looks: bool = False
    """One of the further runs is over before its look at the record arrives, which raises the epoch of the run behind it."""
    to_the_letter: bool = False
    """What goes back says its epoch even where no pivot may stand that the run does not know of."""

    @cached_property
    def pivots(self) -> tuple[int, ...]:
        return tuple(at for at, step in enumerate(self.steps) if step.kind == PIVOT)

    @cached_property
    def pivot(self) -> int | None:
        return self.pivots[0] if self.pivots else None

    @cached_property
    def has_strangers(self) -> bool:
        """A pivot may stand that the run's code does not come by: what goes back says its epoch, as it does in the database."""
        return len(self.pivots) > 1 or self.hands_on or self.to_the_letter

    @cached_property
    def databases(self) -> int:
        return max(step.database for step in self.steps)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The steps that run at once, in the order of the code."""
        found: list[list[int]] = []
        for at, step in enumerate(self.steps):
            if step.beside:
                found[-1].append(at)
            else:
                found.append([at])
        return tuple(map(tuple, found))

    @cached_property
    def compensatable(self) -> tuple[int, ...]:
        return tuple(at for at, step in enumerate(self.steps) if step.kind == COMPENSATABLE)

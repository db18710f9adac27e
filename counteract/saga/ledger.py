"""The saga's bookkeeping: which steps were begun, what is known of them, and what must be undone in which order.

Pure: no Temporal, no clock, no I/O. The code around it (`flights.py`, `stepper.py`) asks it before and after every
activity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from counteract.errors import SagaMisuse
from counteract.messages import Command, CommandKind, Outcome


class Undoing(StrEnum):
    """The progress of a step's undo."""

    NOT_BEGUN = "not begun"
    RUNNING = "running"
    UNDONE = "undone"
    SKIPPED = "skipped"


def name_of(dispatch_key: str) -> str:
    """The key of the step that was sent under this one."""
    return dispatch_key.partition("~")[0]


def tries_of(dispatch_key: str) -> int:
    """The number of times that a person had had the step tried again before it was sent under this key."""
    return int(dispatch_key.partition("~")[2] or 0)


@dataclass(slots=True)
class Step:
    """One command of the saga. `key` is its activity id: `ReserveStock`, `ReserveStock#2`, … in start order."""

    key: str
    command: Command[Any]
    group: int
    """Steps begun together share a group and are undone concurrently."""
    outcome: Outcome | None = None
    """None while it is in flight."""
    undoing: Undoing = Undoing.NOT_BEGUN
    stuck: bool = False
    """The step goes on failing, or waits for a person to decide."""
    parked: bool = False
    """The step failed, and a person may have it tried again before the saga takes note."""
    disowned: bool = False
    """The answer did not reach the saga's code, which must not be left with an effect that it does not know of."""
    skipped: bool = False
    """A person had the saga go on without the step."""
    corrected: bool = False
    """A person changed the command after it had been sent."""
    attempt_timeout: timedelta | None = None
    """The limit of an attempt that the call set in place of the command's own: an undo may take as long."""
    run: Callable[..., Any] | None = None
    """A child's code, where this run calls it: its declaration says what the step returns."""
    retries: int = 0
    """The tries that a person asked for: each is a new command, for the refused one keeps its recorded answer."""

    @property
    def dispatch_key(self) -> str:
        """The key under which the step is sent: its own, with the number of tries behind it once there is one."""
        return f"{self.key}~{self.retries}" if self.retries else self.key

    @property
    def kind(self) -> CommandKind:
        """The kind of the step's command."""
        return self.command.kind

    @property
    def is_child(self) -> bool:
        """Whether the step is a saga of its own, whose record says what became of it."""
        return self.command.is_child

    @property
    def stands(self) -> bool:
        """Whether the step was carried out, and the saga counts on it."""
        return self.outcome is Outcome.APPLIED and not (self.concluded or self.skipped)

    @property
    def given_up(self) -> bool:
        """Whether a person said that what the step did, or may have done, is not the saga's concern any more."""
        return self.skipped or self.undoing is Undoing.SKIPPED

    @property
    def concluded(self) -> bool:
        """Whether the undo of the step is over, one way or the other."""
        return self.undoing in (Undoing.UNDONE, Undoing.SKIPPED)

    @property
    def may_have_applied(self) -> bool:
        """Whether it is not proven that the step had no effect."""
        return self.outcome is not Outcome.NOT_APPLIED


@dataclass(slots=True)
class Ledger:
    """All steps of one saga, in start order."""

    steps: list[Step] = field(default_factory=list)
    _keys: Counter[str] = field(default_factory=Counter)
    _groups: int = 0

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Ledger:
        """A ledger that goes on after these steps."""
        counted = Counter(step.command.step_name() for step in steps)
        return cls(list(steps), counted, max((step.group for step in steps), default=0))

    def forget(self) -> None:
        """Begin from nothing."""
        self.steps.clear()
        self._keys.clear()
        self._groups = 0

    def begin(self, commands: Sequence[Command[Any]]) -> list[Step]:
        """Arm one step per command, as one group.

        Raises SagaMisuse, arming nothing, where the order of kinds is wrong.
        """
        for command in commands:
            self._check_order(command, alone=len(commands) == 1)
        self._groups += 1
        steps = [Step(self._next_key(command), command, self._groups) for command in commands]
        self.steps += steps
        return steps

    def adopt(self, key: str, command: Command[Any]) -> Step:
        """Take over a step that another saga began, with the key that it had there."""
        self._groups += 1
        outcome = Outcome.UNKNOWN if command.kind is CommandKind.COMPENSATABLE else None
        step = Step(key, command, self._groups, outcome)
        self.steps.append(step)
        return step

    def settle(self, step: Step, outcome: Outcome) -> None:
        """Note what became of a step; only the first word on it counts."""
        if step.outcome is None:
            step.outcome = outcome

    def again(self, step: Step, command: Command[Any]) -> None:
        """Arm a failed step anew: a new command, for the old one has been refused or undone. Raises SagaMisuse."""
        self._check_order(command, alone=True)
        step.command, step.outcome, step.undoing, step.corrected = command, None, Undoing.NOT_BEGUN, False
        step.retries += 1

    def disown(self, steps: Sequence[Step]) -> None:
        """Note that the saga's code got no answer from these steps."""
        for step in steps:
            step.disowned = True

    @property
    def in_flight(self) -> list[Step]:
        """The steps without an outcome, and those of which a person may decide before the saga takes note."""
        return [step for step in self.steps if step.outcome is None or step.parked]

    @property
    def stuck(self) -> bool:
        """Whether one of the steps is stuck."""
        return any(step.stuck for step in self.steps)

    @property
    def pivot(self) -> Step | None:
        """The pivot that was begun and not refused."""
        return next((step for step in self.steps if step.kind is CommandKind.PIVOT and step.may_have_applied), None)

    @property
    def past_pivot(self) -> bool:
        """Whether the pivot took effect."""
        return self.pivot is not None and self.pivot.outcome is Outcome.APPLIED

    def unknown(self) -> list[list[Step]]:
        """The groups to undo of those steps alone of which the saga's code does not know whether they took effect."""
        return self._in_undo_order(
            step
            for step in self.steps
            if step.outcome is Outcome.UNKNOWN or (step.disowned and step.outcome is Outcome.APPLIED)
        )

    def undo_plan(self) -> list[list[Step]]:
        """Groups to undo, one after another; the members of a group concurrently. Empty past the pivot."""
        return [] if self.past_pivot else self._in_undo_order(self.steps)

    def _in_undo_order(self, steps: Any) -> list[list[Step]]:
        groups: dict[int, list[Step]] = {}
        for step in steps:
            if (
                step.kind is CommandKind.COMPENSATABLE
                and step.may_have_applied
                and not (step.concluded or step.skipped)
            ):
                groups.setdefault(step.group, []).append(step)
        return [groups[group] for group in sorted(groups, reverse=True)]

    def _next_key(self, command: Command[Any]) -> str:
        name = command.step_name()
        self._keys[name] += 1
        return name if self._keys[name] == 1 else f"{name}#{self._keys[name]}"

    def _check_order(self, command: Command[Any], *, alone: bool) -> None:
        name = command.spec.name
        match command.kind:
            case CommandKind.COMPENSATABLE if self.pivot is not None:
                raise SagaMisuse(f"{name} can be undone, and so must come before the pivot {self.pivot.key}")
            case CommandKind.PIVOT if self.pivot is not None:
                raise SagaMisuse(f"{name} is a second pivot after {self.pivot.key}: a saga has one point of no return")
            case CommandKind.PIVOT if self.in_flight or not alone:
                raise SagaMisuse(f"{name} is the pivot: await every other step before it begins")
            case CommandKind.RETRIABLE if not self.past_pivot:
                raise SagaMisuse(f"{name} cannot be undone, and so must come after the pivot has succeeded")

"""What a fault is: where on a step's way it strikes, what it does there, and how a saga may end that meets it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from counteract.messages import Command, CommandKind, Dispatch
from counteract.participants.handlers import Role

if TYPE_CHECKING:
    from counteract.testing.exploration.attempt import Attempt
    from counteract.testing.exploration.run import Run

Proceed = Callable[[], Awaitable[Any]]
Around = Callable[["Attempt", Proceed], Awaitable[Any]]
"""Stands around a delivery or a handler: may act before it and after it, run it twice, or not at all."""


class Layer(StrEnum):
    """How deep a fault sits."""

    DELIVERY = "delivery"
    """Around the whole attempt, fence and records included: what comes after it has been recorded."""
    HANDLER = "handler"
    """Around the user's function alone: what comes after it has happened, and is not recorded yet."""


class Ending(StrEnum):
    """What became of the workflow."""

    COMPLETED = "completed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    HUNG = "hung"
    RECOVERED = "recovered"
    """Its workflow was lost, and recovery has undone it."""
    REPORTED = "reported"
    """Its workflow was lost past the pivot, and recovery has said so: it is yet to be resumed."""
    REFUSED = "refused to go on"
    """A further run has found that it was undone or overtaken meanwhile."""
    UNKNOWN = "unknown"
    """What is left of the run cannot be read."""


NEVER = sys.maxsize

WENT_ON = frozenset({Ending.COMPLETED})
UNDONE = frozenset({Ending.COMPENSATED})
EITHER = WENT_ON | UNDONE
STOPPED = frozenset({Ending.CANCELLED})
RECOVERED = frozenset({Ending.RECOVERED})


@dataclass(frozen=True, slots=True)
class Place:
    """One activity of a saga: a step, its undo or its settlement."""

    step: str
    """The step's key as in the `report` query."""
    role: Role = Role.HANDLES

    def __str__(self) -> str:
        prefix = {Role.HANDLES: "", Role.COMPENSATES: "undo ", Role.SETTLES: "settle "}[self.role]
        return prefix + self.step


def place_of(command: type[Command[Any]], dispatch: Dispatch, activity: str) -> Place:
    """A step that a person had tried again is still the same place."""
    spec = command.spec
    roles = {spec.compensation: Role.COMPENSATES, spec.settlement: Role.SETTLES, spec.name: Role.HANDLES}
    return Place(dispatch.step.partition("~")[0], roles[activity])


@dataclass(frozen=True, slots=True)
class Known:
    """One step as the first run showed it."""

    key: str
    kind: CommandKind
    group: int
    external: bool
    repeats: bool
    """Whether its own settings allow for more than one attempt."""
    parallel: bool = False
    """Whether it was sent with `parallel`, beside others."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What an explored run overrides of an activity's own limits; None keeps the user's."""

    attempt: timedelta | None = None
    total: timedelta | None = None
    heartbeat: timedelta | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Injection:
    """One intervention at one place."""

    place: Place
    layer: Layer
    around: Around
    times: int | None = 1
    """How many attempts meet it; None: every one."""
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, or two. Its name is how `only=` finds it again."""

    target: str
    name: str
    injections: tuple[Injection, ...] = ()
    may_end: frozenset[Ending] = WENT_ON
    cancelled_at_start: bool = False
    cancelled_at_end: bool = False
    """While the workflow task is under way in which its completion is put on record."""
    deadline: timedelta | None = None
    """In the place of the saga's own, if it has one."""
    run_timeout: timedelta | None = None
    """Of the workflow, which is retried once."""
    retried: bool = False
    """The workflow fails once its saga is over, and is retried once."""
    recovered: bool = False
    """Where its workflow is lost, it is recovered."""
    afterwards: tuple[Callable[[Run], Awaitable[None]], ...] = ()
    """Done to the workflow once it has ended."""
    beside: bool = False
    """Another saga goes on beside it, on the same aggregates."""
    forgets: bool = False
    """The store loses commits."""
    causes: tuple[str, ...] = ()
    """What a saga that it turns back gives as its reason has one of these in it, if there are any."""
    begins: int = 0
    """The group of steps that the saga must have come to for it to strike."""
    ends: int = NEVER
    """The last group that the saga comes to under it."""
    both: tuple[Fault, ...] = ()
    """Of a pair: its two faults."""

    def __str__(self) -> str:
        return f"{self.target}: {self.name}"

    def can_meet(self, other: Fault) -> bool:
        """Whether both can strike in one run: neither ends before the other begins, nor stands in its way."""
        if self.ends < other.begins or other.ends < self.begins or self.whole or other.whole:
            return False
        own, others = (
            {(each.place, each.layer) for each in mine if each not in theirs}
            for mine, theirs in ((self.injections, other.injections), (other.injections, self.injections))
        )
        return bool(own and others and not own & others)

    @property
    def whole(self) -> bool:
        """It is about the saga's run as a whole, and has its own say in how that ends."""
        is_whole = self.retried or self.recovered or self.beside or self.forgets
        return is_whole or bool(self.afterwards or self.run_timeout)

    @property
    def runs_again(self) -> bool:
        """More than one run of the workflow goes over the same steps."""
        return self.retried or bool(self.afterwards or self.run_timeout) or "reset" in self.name

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the single faults in it."""
        return tuple(map(str, self.both)) or (str(self),)

    def __add__(self, other: Fault) -> Fault:
        """Both in one run: which of them comes first decides how it ends, so all their ends are allowed."""
        return Fault(
            target=self.target,
            name=f"{self.name} + {other}",
            injections=tuple(dict.fromkeys(self.injections + other.injections)),
            may_end=self.may_end | other.may_end | EITHER,
            cancelled_at_start=self.cancelled_at_start or other.cancelled_at_start,
            deadline=self.deadline or other.deadline,
            both=(self, other),
        )

    def timing_of(self, place: Place) -> Timing:
        """The tightest of what its injections ask for."""
        asked = [each.timing for each in self.injections if each.place == place]
        return Timing(
            attempt=_least(each.attempt for each in asked),
            total=_least(each.total for each in asked),
            heartbeat=_least(each.heartbeat for each in asked),
            attempts=_least(each.attempts for each in asked),
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast this machine is just now, by a run in which nothing went wrong: what takes its time here is no fault."""

    seconds: float = 1.0
    """What such a run took."""

    @property
    def patience(self) -> timedelta:
        """The least that anything may take that no fault holds up."""
        return timedelta(seconds=max(LEAST, RUNS * self.seconds))

    @property
    def hearing(self) -> float:
        """Seconds that a handler waits for the cancellation of its own activity, which comes with a heartbeat."""
        return max(5.0, RUNS / 2 * self.seconds)

    @property
    def run_timeout(self) -> timedelta:
        """Of a run that a fault is to keep until then: all that comes before it takes place within."""
        return timedelta(seconds=max(4.0, RUNS / 2 * self.seconds))

    @property
    def deadline(self) -> timedelta:
        """A saga's, that its first step is to be overtaken by."""
        return timedelta(seconds=max(0.7, 2 * self.seconds))


LEAST = 10.0
RUNS = 20
"""Runs go on side by side, and so each takes several times as long as one alone."""
UNHURRIED = Pace()
NO_FAULT = Fault("the saga", "nothing goes wrong")


def _least(values: Any) -> Any:
    return min((each for each in values if each is not None), default=None)

"""A fault: where it strikes, what it does there, and how a saga may end that meets it."""

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
"""A function around a delivery or a handler: it may act before and after, and run it twice or not at all."""


class Layer(StrEnum):
    """How deep in an attempt a fault sits."""

    DELIVERY = "delivery"
    """Around the whole attempt, with its fence and its records: a fault that comes after finds the answer recorded."""
    HANDLER = "handler"
    """Around the user's function alone: a fault that comes after finds the effect made, and not recorded yet."""


class Ending(StrEnum):
    """How an explored run ended."""

    COMPLETED = "completed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    HUNG = "hung"
    RECOVERED = "recovered"
    """The workflow was lost, and recovery has undone the saga."""
    REPORTED = "reported"
    """The workflow was lost past the pivot, and recovery has reported the saga: it is yet to be resumed."""
    REFUSED = "refused to go on"
    """A further run has found that it was undone or overtaken meanwhile."""
    UNKNOWN = "unknown"
    """The evidence of the run cannot be read."""


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
    """The place of this activity. A step that a person had tried again is still the same place."""
    spec = command.spec
    roles = {spec.compensation: Role.COMPENSATES, spec.settlement: Role.SETTLES, spec.name: Role.HANDLES}
    return Place(dispatch.step.partition("~")[0], roles[activity])


@dataclass(frozen=True, slots=True)
class Known:
    """One step of a saga, as the first run, without a fault, has shown it."""

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
    """Limits that an injection sets in the place of an activity's own; None keeps the user's."""

    attempt: timedelta | None = None
    total: timedelta | None = None
    heartbeat: timedelta | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Injection:
    """One intervention of a fault, at one place."""

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
    """Whether the saga is cancelled in the very workflow task that puts its completion on record."""
    deadline: timedelta | None = None
    """The deadline in the place of the saga's own, if it has one."""
    run_timeout: timedelta | None = None
    """The time limit of the workflow's run, which is retried once."""
    retried: bool = False
    """Whether the workflow fails once its saga is over, and is retried once."""
    recovered: bool = False
    """Whether the saga is recovered where its workflow is lost."""
    afterwards: tuple[Callable[[Run], Awaitable[None]], ...] = ()
    """The actions on the workflow once it has ended, each followed by another end."""
    beside: bool = False
    """Whether another saga goes on beside it, on the same aggregates."""
    forgets: bool = False
    """Whether the store loses commits."""
    causes: tuple[str, ...] = ()
    """Texts, one of which is in the cause that the saga gives where it turns back; any cause will do without them."""
    begins: int = 0
    """The first group of steps in which it can strike."""
    ends: int = NEVER
    """The last group that the saga comes to under this fault."""
    both: tuple[Fault, ...] = ()
    """The two faults of a pair; empty for a single fault."""

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
        """Whether it is about the saga's run as a whole, and by itself decides how that may end."""
        is_whole = self.retried or self.recovered or self.beside or self.forgets
        return is_whole or bool(self.afterwards or self.run_timeout)

    @property
    def runs_again(self) -> bool:
        """Whether more than one run of the workflow goes over the same steps."""
        return self.retried or bool(self.afterwards or self.run_timeout) or "reset" in self.name

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the single faults in it."""
        return tuple(map(str, self.both)) or (str(self),)

    def __add__(self, other: Fault) -> Fault:
        """Both faults in one run. Which of them comes first decides how it ends, so all their ends are allowed."""
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
        """The tightest limits that its injections set for this place."""
        asked = [each.timing for each in self.injections if each.place == place]
        return Timing(
            attempt=_least(each.attempt for each in asked),
            total=_least(each.total for each in asked),
            heartbeat=_least(each.heartbeat for each in asked),
            attempts=_least(each.attempts for each in asked),
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast this machine is just now, by a run without a fault: what takes that long is not held up."""

    seconds: float = 1.0
    """The duration of such a run."""

    @property
    def patience(self) -> timedelta:
        """The least time that is given to whatever no fault holds up."""
        return timedelta(seconds=max(_LEAST, _RUNS * self.seconds))

    @property
    def hearing(self) -> float:
        """Seconds that a handler waits for the cancellation of its own activity, which comes with a heartbeat."""
        return max(5.0, _RUNS / 2 * self.seconds)

    @property
    def run_timeout(self) -> timedelta:
        """The time limit of a run that a fault keeps under way until then; all that comes before fits into it."""
        return timedelta(seconds=max(4.0, _RUNS / 2 * self.seconds))

    @property
    def deadline(self) -> timedelta:
        """A deadline that passes while the saga's first step is under way."""
        return timedelta(seconds=max(0.7, 2 * self.seconds))


_LEAST = 10.0
_RUNS = 20
"""Times the duration of the first run: runs go on side by side, so each takes several times as long as one alone."""
UNHURRIED = Pace()
NO_FAULT = Fault("the saga", "nothing goes wrong")


def _least(values: Any) -> Any:
    return min((each for each in values if each is not None), default=None)

"""The tries of a shard, which a process knows of for longer than one pair of connections."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from counteract.subscriptions.backoff import Backoff
from counteract.subscriptions.faults import is_outage, is_waited_for
from counteract.subscriptions.pace import Pace


class Redriving:
    """The times when all that is parked is tried again without being asked for.

    The first is when a process takes a shard up, whose code may be another; then they come ever less often.
    """

    def __init__(self) -> None:
        self._pauses = Backoff(shortest=60.0, longest=3600.0)
        self._next = 0.0

    @property
    def is_near(self) -> bool:
        """Whether it is time; asking changes nothing."""
        return monotonic() >= self._next

    def is_due(self) -> bool:
        """Whether it is time; from then on it is not, for longer than before."""
        if not self.is_near:
            return False
        self._next = monotonic() + self._pauses.next()
        return True


@dataclass(slots=True)
class Tries:
    """How often the next batch was tried, and with what success: one pair of connections hands it on to the next."""

    pace: Pace
    redriving: Redriving
    attempts: int
    """Failures of the batch as a whole, after which its events are handled one by one."""
    _failed: int = field(default=0, init=False)
    _waits: bool = field(default=False, init=False)
    """Whether the last failure was no event's fault. Those before the one that it was met at need not wait: they are
    handled one by one.
    """
    _alone_until: int = field(default=0, init=False)
    """The position up to which the events are handled one by one."""

    @property
    def has_not_failed(self) -> bool:
        """Whether the batch has not failed yet; what is waited for does not count."""
        return self._failed == 0

    def fail(self, error: Exception) -> None:
        """Take note of what a try has ended with."""
        self._failed += not is_waited_for(error)
        self._waits = is_waited_for(error) and not is_outage(error)

    def succeed(self) -> None:
        """Take note that the batch is delivered. Positions to be handled one by one stay so."""
        self._failed = 0
        self._waits = False

    def keep_alone_until(self, position: int) -> None:
        """Have the events up to there handled one by one, in later batches too, if the attempts are used up."""
        if self._failed >= self.attempts:
            self._alone_until = max(self._alone_until, position)

    def goes_one_by_one(self, position: int) -> bool:
        """Whether the events that come after this position are handled one by one."""
        return self._waits or self._failed >= self.attempts or position < self._alone_until

"""The pace of a shard: how many events a batch has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

_FIRST = 500


class Pace:
    """The size of a batch: as many events as are handled within `seconds`, and `most` at the most.

    A batch is one transaction: one that took longer than it may is undone by the database, and would be for ever after.
    It begins with few, and doubles while they are handled in a fraction of the time: many changes of a row in one batch
    become one, so that a shard that is far behind catches up sooner. One that has just failed begins anew: to find the
    event that is to blame, few are better.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.size = min(most, _FIRST)
        self._most = most
        self._seconds = seconds

    @contextmanager
    def measured(self, events: int) -> Iterator[None]:
        """Take the time in which so many events are handled, and change the size by it."""
        began = monotonic()
        try:
            yield
        except BaseException:
            self.size = min(self.size, _FIRST)
            raise
        else:
            if events == self.size and monotonic() - began < self._seconds / 4:
                self.size = min(2 * self.size, self._most)
        finally:
            if monotonic() - began > self._seconds:
                self.size = max(1, min(events, self.size) // 2)

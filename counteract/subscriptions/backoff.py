"""Delays that grow with each attempt, and differ from process to process."""

from __future__ import annotations

import random

# What was down is asked for by all at once when it is back, unless each waits for a time of its own.
_LEAST = 0.5


def spread(seconds: float) -> float:
    """A random time between half of `seconds` and all of it."""
    return random.uniform(_LEAST * seconds, seconds)  # noqa: S311 - jitter, no secret


class Backoff:
    """Delays that double from `shortest` to `longest`, in seconds, each spread."""

    def __init__(self, *, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._delay = shortest

    @property
    def is_fresh(self) -> bool:
        """Whether `next` has not been asked since the start or the last reset."""
        return self._delay == self._shortest

    def next(self) -> float:
        """The delay to wait for now, in seconds. The one after it is longer."""
        delay = self._delay
        self._delay = min(2 * delay, self._longest)
        return spread(delay)

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self._delay = self._shortest

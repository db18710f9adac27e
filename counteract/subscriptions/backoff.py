"""Waiting a little longer each time."""

from __future__ import annotations


class Backoff:
    """Delays that double from `shortest` to `longest`, in seconds."""

    def __init__(self, *, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._delay = shortest

    @property
    def is_fresh(self) -> bool:
        """Whether `next` has not been asked since the start or the last reset."""
        return self._delay == self._shortest

    def next(self) -> float:
        delay = self._delay
        self._delay = min(2 * delay, self._longest)
        return delay

    def reset(self) -> None:
        self._delay = self._shortest

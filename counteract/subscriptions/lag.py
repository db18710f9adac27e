"""The lag of a subscription: how far it is behind, and whether that is further than it declares."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from counteract.observability import count_breach, observe_lag

_logger = logging.getLogger("counteract.subscriptions")


class _Waiting(NamedTuple):
    since: datetime
    positions: int


class Lag:
    """The lag of one subscription over the shards that this process has, by the clock of the process."""

    def __init__(self, name: str, within: timedelta | None) -> None:
        self.name = name
        self._within = within
        self._waiting: dict[int, _Waiting] = {}
        self._is_late = False
        observe_lag(self)

    @property
    def seconds(self) -> float:
        """Seconds since the oldest event that is still to be handled was recorded; 0 where there is none."""
        oldest = min((each.since for each in list(self._waiting.values())), default=None)
        return max((_now() - oldest).total_seconds(), 0.0) if oldest else 0.0

    @property
    def positions(self) -> int:
        """Positions of the log that are still to be gone through, by the shard that has the most."""
        return max((each.positions for each in list(self._waiting.values())), default=0)

    def waits(self, shard: int, since: datetime, positions: int) -> None:
        """Take note of an event that waits, recorded at `since`, and of the positions to go through."""
        self._waiting[shard] = _Waiting(since, positions)
        if self._within and not self._is_late and self.seconds > self._within.total_seconds():
            self._is_late = True
            count_breach(self.name)
            _logger.warning(
                "subscription %r is %.1f s behind, and should be within %.1f s",
                self.name,
                self.seconds,
                self._within.total_seconds(),
            )

    def is_done(self, shard: int) -> None:
        """Take note that the shard has nothing to handle, or is another process's now."""
        self._waiting.pop(shard, None)
        if self._is_late and not self._waiting:
            self._is_late = False
            _logger.info("subscription %r is up to date again", self.name)


def _now() -> datetime:
    return datetime.now(UTC)

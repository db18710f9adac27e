"""How far a subscription is behind, and whether that is further than was declared."""

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
    """Of one subscription, over the shards that this process has. By this process's clock."""

    def __init__(self, name: str, within: timedelta | None) -> None:
        self.name = name
        self._within = within
        self._waiting: dict[int, _Waiting] = {}
        self._is_late = False
        observe_lag(self)

    @property
    def seconds(self) -> float:
        oldest = min((each.since for each in list(self._waiting.values())), default=None)
        return max((_now() - oldest).total_seconds(), 0.0) if oldest else 0.0

    @property
    def positions(self) -> int:
        return max((each.positions for each in list(self._waiting.values())), default=0)

    def waits(self, shard: int, since: datetime, positions: int) -> None:
        """An event that was recorded then is to be handled, and the log has so many positions more."""
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
        """There is nothing to handle, or the shard is another's now."""
        self._waiting.pop(shard, None)
        if self._is_late and not self._waiting:
            self._is_late = False
            _logger.info("subscription %r is up to date again", self.name)


def _now() -> datetime:
    return datetime.now(UTC)

"""How a subscription takes its troubles: it tells of them once, waits longer each time, and tells when they are over."""

from __future__ import annotations

import logging

from counteract.errors import UndecodableEvent
from counteract.observability import count_parked
from counteract.subscriptions.backoff import Backoff
from counteract.subscriptions.faults import is_outage, is_waited_for

_logger = logging.getLogger("counteract.subscriptions")


class Health:
    """Of one subscription in one process, over all of its shards."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_well = True
        self._pauses = Backoff(shortest=0.1, longest=5.0)

    def failed(self, error: Exception) -> float:
        """How many seconds to wait before it is tried again."""
        if not self._is_well:
            _logger.debug("subscription %r still fails", self._name, exc_info=error)
        elif is_outage(error):
            _logger.warning("subscription %r waits: %s", self._name, error)
        elif isinstance(error, UndecodableEvent):
            _logger.error("subscription %r waits for a release that can read it (readers first): %s", self._name, error)
        elif is_waited_for(error):
            _logger.error(
                "subscription %r waits for this to be put right: %s", self._name, error, exc_info=error.__cause__
            )
        else:
            _logger.error("subscription %r failed and tries again", self._name, exc_info=error)
        self._is_well = False
        return self._pauses.next()

    def well(self) -> None:
        if not self._is_well:
            _logger.info("subscription %r goes on", self._name)
        self._is_well = True
        self._pauses.reset()

    def parked(self, stream: object, position: int, error: Exception) -> None:
        count_parked(self._name)
        _logger.error(
            "subscription %r cannot handle position %d: %s is parked; `counteract parked show %s` has more",
            self._name,
            position,
            stream,
            self._name,
            exc_info=error,
        )

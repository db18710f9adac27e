"""The health of a subscription: a trouble is logged once, waited for ever longer, and logged again when it is over."""

from __future__ import annotations

import logging

from counteract.errors import CounteractError, UndecodableEvent
from counteract.observability import count_parked
from counteract.printable import printable
from counteract.reasons import untold
from counteract.store.postgres.error_texts import objection
from counteract.subscriptions.backoff import Backoff
from counteract.subscriptions.faults import EverythingFails, is_outage, is_waited_for, reason

_logger = logging.getLogger("counteract.subscriptions")

_WAITS = "waits"
_WAITS_FOR_A_RELEASE = "waits for a release that can read it (readers first)"
_WAITS_FOR_SOMEBODY = "waits for this to be put right"
_FAILS = "fails"


class Health:
    """The health of one subscription in one process, over all of its shards."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told = ""
        self._pauses = Backoff(shortest=0.1, longest=5.0)

    def failed(self, error: Exception) -> float:
        """Log the error, at DEBUG where the one before was of its kind. Returns the seconds to wait for."""
        if (kind := _kind(error)) == self._told:
            _logger.debug("subscription %r still fails", self._name, exc_info=error)
        elif kind == _FAILS:
            _logger.error("subscription %r failed and tries again", self._name, exc_info=untold(error, objection))
            _tell(error)
        else:
            level = logging.WARNING if kind == _WAITS else logging.ERROR
            _logger.log(level, "subscription %r %s: %s", self._name, kind, _in_a_line(error))
        self._told = kind
        return self._pauses.next()

    def well(self) -> None:
        """Log that a trouble is over, if there was one. The next wait is the shortest."""
        if self._told:
            _logger.info("subscription %r goes on", self._name)
        self._told = ""
        self._pauses.reset()

    def parked(self, stream: object, position: int, error: Exception) -> None:
        """Count and log an event that was parked for this error."""
        count_parked(self._name)
        _logger.error(
            "subscription %r cannot handle position %d: %s is parked; `counteract parked show %s` has more",
            self._name,
            position,
            printable(stream),
            self._name,
            exc_info=untold(error, objection),
        )
        _tell(error)


def _kind(error: Exception) -> str:
    if is_outage(error):
        return _WAITS
    if isinstance(error, UndecodableEvent) and error.is_newer:
        return _WAITS_FOR_A_RELEASE
    return _WAITS_FOR_SOMEBODY if is_waited_for(error) else _FAILS


def _in_a_line(error: Exception) -> str:
    return str(error) if isinstance(error, CounteractError | EverythingFails | OSError) else reason(error)


def _tell(error: Exception) -> None:
    """Log all that the error says, at DEBUG: it may quote an event, or a row."""
    _logger.debug("what was raised", exc_info=error)

"""Metrics of subscriptions."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Protocol
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

_meter = get_meter("counteract")
_parked = _meter.create_counter(
    "counteract.subscription.parked", unit="{event}", description="Events that failed and were parked."
)
_breaches = _meter.create_counter(
    "counteract.subscription.breaches", unit="{breach}", description="How often one fell further behind than declared."
)


class Lagging(Protocol):
    """A subscription that may be behind the log."""

    name: str

    @property
    def seconds(self) -> float:
        """Seconds since the oldest event was recorded that it has not handled; 0 where there is none."""
        ...

    @property
    def positions(self) -> int:
        """Positions of the log after the last one that it has handled."""
        ...


# An SDK asks from a thread of its own.
_lock = Lock()
_lagging: WeakSet[Lagging] = WeakSet()


def observe_lag(of: Lagging) -> None:
    """Report the lag of a subscription for as long as it lives."""
    with _lock:
        _lagging.add(of)


def count_parked(subscription: str) -> None:
    """Count an event that was parked."""
    _parked.add(1, {"subscription": subscription})


def count_breach(subscription: str) -> None:
    """Count that a subscription fell further behind than it declared with `within`."""
    _breaches.add(1, {"subscription": subscription})


def _of_each() -> list[Lagging]:
    with _lock:
        return list(_lagging)


def _seconds(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(each.seconds, {"subscription": each.name}) for each in _of_each()]


def _positions(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(each.positions, {"subscription": each.name}) for each in _of_each()]


_meter.create_observable_gauge(
    "counteract.subscription.lag",
    callbacks=[_seconds],
    unit="s",
    description="Since the oldest event was recorded that a subscription of this process has not handled.",
)
_meter.create_observable_gauge(
    "counteract.subscription.behind",
    callbacks=[_positions],
    unit="{position}",
    description="Positions of the log that a subscription of this process has not come to.",
)

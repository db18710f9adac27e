"""Metrics of the event store (docs/decisions/0061)."""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from time import perf_counter
from types import TracebackType
from typing import Protocol
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from counteract.errors import BoundaryChanged, StoreError, StoreUnavailable, WrongExpectedVersion

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_meter = get_meter("counteract")
_durations = _meter.create_histogram(
    "counteract.store.append.duration",
    unit="s",
    description="How long an append takes its caller, by its outcome.",
    explicit_bucket_boundaries_advisory=_SECONDS,
)

_OUTCOMES = ("appended", "conflict", "unavailable", "refused", "cancelled", "failed")
# Made once: an append should not have to.
_ATTRIBUTES = {outcome: {"outcome": outcome} for outcome in _OUTCOMES}

# Counted here and told when asked: handing each to an SDK would cost as much again as its time does.
_appends = Counter[str]()
# An SDK asks from a thread of its own.
_lock = Lock()


def appending(*, anything: bool) -> AbstractContextManager[None]:
    """Count and time the append that runs within. `anything`: it has events, and does not only check its streams."""
    return _Appending() if anything else nullcontext()


class _Appending:
    __slots__ = ("_began",)

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        outcome = _outcome(error)
        with _lock:
            _appends[outcome] += 1
        _durations.record(perf_counter() - self._began, _ATTRIBUTES[outcome])


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "appended"
        case WrongExpectedVersion() | BoundaryChanged():
            return "conflict"
        case StoreUnavailable():
            return "unavailable"
        case StoreError():
            return "refused"
        case CancelledError():
            return "cancelled"
    return "failed"


def _appends_so_far(_: CallbackOptions) -> Iterable[Observation]:
    with _lock:
        return [Observation(count, _ATTRIBUTES[outcome]) for outcome, count in _appends.items()]


_meter.create_observable_counter(
    "counteract.store.appends",
    callbacks=[_appends_so_far],
    unit="{append}",
    description="Appends that have ended, by their outcome.",
)


class Delayed(Protocol):
    """A reader that open appends keep waiting."""

    @property
    def delay(self) -> float:
        """Seconds for which it has waited; 0 where there is nothing to wait for."""
        ...


_delayed: WeakSet[Delayed] = WeakSet()


def observe_delay(of: Delayed) -> None:
    """Watch the delay of a reader, for as long as it lives: the longest of all is reported."""
    with _lock:
        _delayed.add(of)


def _longest_delay(_: CallbackOptions) -> Iterable[Observation]:
    with _lock:
        delays = [each.delay for each in _delayed]
    return [Observation(max(delays))] if delays else []


_meter.create_observable_gauge(
    "counteract.store.high_water_mark.delay",
    callbacks=[_longest_delay],
    unit="s",
    description="How long the oldest append that is still open has kept this process's readers waiting.",
)

"""Compares two engines in turns, so that whatever else the machine does meets both."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from benchmarks.drivers import Engine

AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Race:
    """Counteract against one peer: medians over the pairs, and their ratio."""

    peer: str
    ours: float
    theirs: float
    ratios: list[float]
    """The ratios, Counteract's figure by the peer's, one per pair."""

    @property
    def ratio(self) -> float:
        return median(self.ratios)


@dataclass(frozen=True, slots=True)
class Latency:
    """The duration of one saga alone, in milliseconds."""

    name: str
    p50: float
    p99: float


async def throughput(ours: Engine, theirs: Engine, *, pairs: int, sagas: int) -> Race:
    """Sagas per second with 16 under way. The engine that goes first changes from pair to pair."""
    await warm_up(ours, theirs)
    return await race(ours, theirs, pairs=pairs, sagas=sagas, at_once=AT_ONCE)


async def race(ours: Engine, theirs: Engine, *, pairs: int, **order: Any) -> Race:
    """Rates at which both carry out the same order, in turns."""
    taken: list[tuple[float, float]] = []
    for number in range(pairs):
        rates = {}
        for each in (ours, theirs) if number % 2 else (theirs, ours):
            rates[each.name] = (await each.take(**order)).per_second
        taken.append((rates[ours.name], rates[theirs.name]))
    our_rates, their_rates = zip(*taken, strict=True)
    return Race(theirs.name, median(our_rates), median(their_rates), [mine / other for mine, other in taken])


async def latency(engines: tuple[Engine, ...], *, rounds: int, sagas: int) -> list[Latency]:
    """One saga at a time, the engines in turns."""
    taken: dict[str, list[float]] = {each.name: [] for each in engines}
    for number in range(rounds):
        for each in engines if number % 2 else reversed(engines):
            taken[each.name] += (await each.take(sagas=sagas, at_once=1)).each
    return [Latency(name, 1000 * median(each), 1000 * quantiles(each, n=100)[98]) for name, each in taken.items()]


async def warm_up(*engines: Engine) -> None:
    for each in engines:
        await each.take(sagas=2 * AT_ONCE, at_once=AT_ONCE)

"""The progress of a run: how far it has come and how long it took, for whoever watches one that takes an hour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from marketplace.chaos.faults import Faults
from marketplace.chaos.load import Load
from marketplace.chaos.plan import Plan

TOLD_EVERY = 60.0
"""Seconds from line to line."""


@dataclass(slots=True)
class Progress:
    """Prints a line now and then. `began` is on the clock of `time.monotonic`."""

    console: Console
    plan: Plan
    load: Load
    faults: Faults
    began: float
    spans: dict[str, float] = field(default_factory=dict)
    """Seconds that each part of the run took."""

    async def told(self) -> None:
        """Print a line now and then, until cancelled."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(TOLD_EVERY)
            self.say(f"{self.far()}{left(time.monotonic() - began, self.share())}")

    def say(self, what: str) -> None:
        self.console.print(f"{time.monotonic() - self.began:>6.0f} s  {what}")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.spans[name] = time.monotonic() - began

    def far(self) -> str:
        faults = f"{self.faults.dealt} of {self.plan.faults}" if self.plan.faults else str(self.faults.dealt)
        begun, ended = len(self.load.cases), self.load.ended_so_far
        return f"{begun} of {self.plan.sagas} sagas begun, {ended} ended; {faults} faults"

    def share(self) -> float:
        """The share of the work that is done, by the part that is furthest behind."""
        faults = self.faults.dealt / self.plan.faults if self.plan.faults else 1.0
        return min(faults, self.load.ended_so_far / max(self.plan.sagas, 1))

    def summary(self) -> str:
        whole = time.monotonic() - self.began
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.spans.items())
        return f"{len(self.load.cases)} sagas and {self.faults.dealt} faults in {whole:.0f} s: {parts}"


def left(passed: float, share: float) -> str:
    """The time that is left at the pace so far, as text; empty where that says nothing yet."""
    return f"; about {max(passed / share - passed, 0) / 60:.0f} min left" if 0.01 < share < 1 else ""

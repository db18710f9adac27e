"""The single attempt at an activity of an explored run, as the faults that strike it see it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from counteract.messages import Command, Dispatch
from counteract.testing.exploration.faults import Injection, Layer, Place, Proceed
from counteract.testing.exploration.run import Run

Forget = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Attempt:
    """One attempt at one activity of a run."""

    run: Run
    place: Place
    command: Command[Any]
    dispatch: Dispatch
    by_hand: Proceed
    """Does what the attempt is about, without the saga."""
    forget: Forget
    """Has the store forget what it has on record of this command."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its handler has come to where a fault holds it."""
    unnoticed: bool = False
    """Whether it is over, so that nobody can know what its handler still does."""
    decided: int = 0
    """How often its handler was given something to decide on: a stream, or, outside, the command."""
    _chosen: list[Injection] | None = None

    async def through(self, layer: Layer, proceed: Proceed) -> Any:
        """Go on through all injections that stand around this layer in this attempt."""
        for injection in self._injections():
            if injection.layer is layer:
                self.run.met[injection] += 1
                proceed = _wrapped(self, injection, proceed)
        return await proceed()

    async def see_to_it(self) -> None:
        """Do by hand what the attempt is about, without any fault."""
        CURRENT.set(replace(self, _chosen=[]))
        await self.by_hand()

    def _injections(self) -> list[Injection]:
        """Chosen once per attempt: one that is delivered twice, or decides anew, stays under the same fault."""
        if self._chosen is None:
            own = [each for each in self.run.fault.injections if each.place == self.place]
            self._chosen = [each for each in own if each.times is None or self.run.seen[each] < each.times]
            self.run.seen.update(self._chosen)
        return self._chosen


CURRENT: ContextVar[Attempt] = ContextVar("the attempt that this task works on")


def _wrapped(attempt: Attempt, injection: Injection, proceed: Proceed) -> Proceed:
    return lambda: injection.around(attempt, proceed)

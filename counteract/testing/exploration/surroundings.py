"""The surroundings of a run: what all runs of one exploration share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from temporalio.client import Client

from counteract.testing.exploration.faults import UNHURRIED, Pace
from counteract.testing.exploration.worker.witness import Recorder

if TYPE_CHECKING:
    from counteract.testing.exploration.people import People

PAUSE = 0.02
"""Seconds between two looks at a workflow, which has no event for what is waited for."""


@dataclass(slots=True)
class Rounds:
    """Rounds of recovery, one at a time: each is for all who have asked before it begins."""

    _begun: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def after_now(self, begin: Callable[[], Awaitable[None]]) -> None:
        """Return once a round is over that began after this was called."""
        before = self._begun
        async with self._lock:
            if self._begun == before:
                self._begun += 1
                await begin()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The server, the people and the records that every run of one exploration has."""

    client: Client
    people: People
    recorder: Recorder
    rounds: Rounds = field(default_factory=Rounds)
    pace: Pace = UNHURRIED

"""Measures how fast recorded histories replay, as a worker replays every saga that it did not keep in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from temporalio.worker import Replayer

from counteract.plugin import CounteractPlugin
from counteract.testing import recorded
from workflows.checkout import Checkout

HISTORIES = Path(__file__).parent.parent / "tests" / "replay" / "histories"


@dataclass(frozen=True, slots=True)
class Replays:
    """Medians over the rounds."""

    histories: int
    events: int
    per_second: float


async def replays(*, rounds: int) -> Replays:
    """Replay all recorded checkouts, one after another, with Temporal's own replayer."""
    histories = [history for _, history in recorded(HISTORIES)]
    replayer = Replayer(workflows=[Checkout], plugins=[CounteractPlugin()])
    rates = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        for history in histories:
            await replayer.replay_workflow(history)
        rates.append(len(histories) / (time.perf_counter() - began))
    # The first round imports what the others find imported.
    return Replays(len(histories), sum(len(history.events) for history in histories), median(rates[1:]))

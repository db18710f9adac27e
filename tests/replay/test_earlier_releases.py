"""Histories that only an earlier release writes: `make record` cannot record them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from counteract.testing import read, replay
from tests.travel.outings import Errand

pytestmark = pytest.mark.replay

EARLIER = Path(__file__).parent / "earlier"


async def test_a_completed_saga_that_was_reset_and_cancelled_and_said_to_be_stuck_replays() -> None:
    """It asked nobody before it turned back, and said that it was stuck when its record refused the undo."""
    await replay(read(EARLIER / "completed-reset-and-cancelled.json"), [Errand])

"""Histories that only an earlier release writes: `make record` cannot record them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from counteract.testing import read, replay
from tests.protocol.domain import Late
from tests.travel.bank_sagas import Errand

pytestmark = pytest.mark.replay

EARLIER = Path(__file__).parent / "earlier"


async def test_a_completed_saga_that_was_reset_and_cancelled_and_said_to_be_stuck_replays() -> None:
    """It asked nobody before it turned back, and said that it was stuck when its record refused the undo."""
    await replay(read(EARLIER / "completed-reset-and-cancelled.json"), [Errand])


@pytest.mark.parametrize("file", sorted(EARLIER.glob("unopened-*.json")), ids=lambda file: file.stem)
async def test_a_run_that_answered_for_no_saga_before_it_was_opened_replays(file: Path) -> None:
    """It ended there with the steps of the run before in force, or forgot that it had been resumed."""
    await replay(read(file), [Late])

"""Histories recorded from real checkouts, against today's saga. `make record` records them anew.

A failure here means: checkouts that are under way would break on this code. Put the change behind `workflow.patched`,
or deploy it as a new worker version; then record the new histories beside the old ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from counteract.testing import read, replay
from workflows.checkout import Checkout

pytestmark = pytest.mark.replay

HISTORIES = Path(__file__).parent / "histories"
ENDINGS = {
    "completed": EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    "compensated": EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    "cancelled": EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
}


@pytest.mark.parametrize("file", sorted(HISTORIES.glob("*.json")), ids=lambda file: file.stem)
async def test_a_recorded_checkout_replays(file: Path) -> None:
    await replay(read(file), [Checkout])


@pytest.mark.parametrize(("ending", "last_event"), ENDINGS.items())
def test_there_is_a_recording_of_every_ending(ending: str, last_event: EventType.ValueType) -> None:
    recorded = [read(file) for file in HISTORIES.glob(f"{ending}*.json")]

    assert [_last(history) for history in recorded] == [last_event] * max(len(recorded), 1)


def _last(history: WorkflowHistory) -> EventType.ValueType:
    return history.events[-1].event_type

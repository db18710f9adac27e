"""What users test their sagas with, as the engine tests its own."""

from counteract.testing.histories import UnreadableHistory, read, record, recorded
from counteract.testing.replay import ReplayFailed, replay

__all__ = ["ReplayFailed", "UnreadableHistory", "read", "record", "recorded", "replay"]

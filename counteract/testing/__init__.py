"""What users test their sagas with, as the engine tests its own."""

from counteract.testing.exploration import Exploration, ExplorationFailed, Explored, explore
from counteract.testing.histories import UnreadableHistory, read, record, recorded
from counteract.testing.replay import ReplayFailed, replay

__all__ = [
    "Exploration",
    "ExplorationFailed",
    "Explored",
    "ReplayFailed",
    "UnreadableHistory",
    "explore",
    "read",
    "record",
    "recorded",
    "replay",
]

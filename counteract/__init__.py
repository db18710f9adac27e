"""Counteract: orchestration sagas on Temporal, with every step paired with its undo and every event kept."""

from counteract.decider import Decider
from counteract.errors import CounteractError, Rejected
from counteract.messages import Command, Compensatable, Event, Outcome, Pivot, Recorded, Retriable, Retry, StreamId

__all__ = [
    "Command",
    "Compensatable",
    "CounteractError",
    "Decider",
    "Event",
    "Outcome",
    "Pivot",
    "Recorded",
    "Rejected",
    "Retriable",
    "Retry",
    "StreamId",
]

"""Counteract: orchestration sagas on Temporal, with every step paired with its undo and every event kept."""

from counteract.decider import Decider
from counteract.errors import CounteractError, Rejected
from counteract.messages import Command, Compensatable, Event, Outcome, Pivot, Recorded, Retriable, Retry, StreamId
from counteract.personal import FORGOTTEN, Forgotten, Personal

__all__ = [
    "FORGOTTEN",
    "Command",
    "Compensatable",
    "CounteractError",
    "Decider",
    "Event",
    "Forgotten",
    "Outcome",
    "Personal",
    "Pivot",
    "Recorded",
    "Rejected",
    "Retriable",
    "Retry",
    "StreamId",
]

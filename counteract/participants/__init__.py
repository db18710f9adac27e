"""The services that carry out commands: handlers, their undo, and the fence that makes both take effect once."""

from counteract.messages import Dispatch
from counteract.participants.handlers import (
    Happened,
    NeverHappened,
    Settle,
    Undo,
    compensates,
    handles,
    settles,
)
from counteract.participants.lifecycle import Lifecycle
from counteract.participants.participants import Participants
from counteract.participants.streams import Stream, Streams

__all__ = [
    "Dispatch",
    "Happened",
    "Lifecycle",
    "NeverHappened",
    "Participants",
    "Settle",
    "Stream",
    "Streams",
    "Undo",
    "compensates",
    "handles",
    "settles",
]

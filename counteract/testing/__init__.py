"""The tools with which users test their sagas, events and projections, as the engine tests its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counteract.testing.exploration import Exploration, ExplorationFailed, Explored, explore
from counteract.testing.histories import RecordedHistory, UnreadableHistory, read, record, recorded
from counteract.testing.memory import InMemoryEventStore
from counteract.testing.replay import ReplayFailed, replay
from counteract.testing.scenarios import given, in_stream

if TYPE_CHECKING:
    from counteract.testing.store_contract import StoreContract

__all__ = [
    "Exploration",
    "ExplorationFailed",
    "Explored",
    "InMemoryEventStore",
    "RecordedHistory",
    "ReplayFailed",
    "StoreContract",
    "UnreadableHistory",
    "explore",
    "given",
    "in_stream",
    "read",
    "record",
    "recorded",
    "replay",
]


def __getattr__(name: str) -> Any:
    # At its first use: it needs pytest, which the command line has to do without, and which rewrites its assertions.
    if name != "StoreContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from counteract.testing.store_contract import StoreContract

    return StoreContract

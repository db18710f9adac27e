"""What the handlers of explored runs were seen to do, and who keeps it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol
from uuid import UUID

from counteract.decider import Decider
from counteract.messages import Event, StreamId
from counteract.participants.handlers import Role


class Appended(NamedTuple):
    """One event that a handler appended."""

    stream: StreamId
    event: Event


class Witnessed(NamedTuple):
    """A handler's function ran to its end: for an external effect, it happened."""

    role: Role
    command_id: UUID
    """The original's, for an undo too."""
    own: UUID
    """What it is recorded under."""
    subject: Any
    """What it was given: a Command, an Undo or a Settle."""
    result: Any
    appended: tuple[Appended, ...]


class Recorder(Protocol):
    """Keeps what the handlers of all runs did to streams."""

    def loaded(self, run: str, decider: Decider[Any, Any], stream: StreamId, version: int) -> None: ...

    def witnessed(self, told: Witnessed) -> None: ...

    def forgotten(self, command_id: UUID) -> None: ...

"""Observations of handlers in explored runs, and the port to what keeps them."""

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
    """A handler's function that ran to its end: an external effect has happened by then."""

    role: Role
    command_id: UUID
    """The id of the original command, for an undo too."""
    own: UUID
    """The id that it is recorded under."""
    subject: Any
    """The argument of the handler: a Command, an Undo or a Settle."""
    result: Any
    appended: tuple[Appended, ...]


class Recorder(Protocol):
    """Keeps what the handlers of all runs do to streams."""

    def loaded(self, run: str, decider: Decider[Any, Any], stream: StreamId, version: int) -> None:
        """A handler of this run has loaded a stream, at this version."""
        ...

    def witnessed(self, told: Witnessed) -> None:
        """A handler has come to its end."""
        ...

    def forgotten(self, command_id: UUID) -> None:
        """The store has lost the row of this command."""
        ...

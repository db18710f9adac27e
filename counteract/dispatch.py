"""The dispatch that travels with a command, and the standing of its sender: which step of which saga the command is."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Self
from uuid import UUID, uuid5

from pydantic import ConfigDict, Field

from counteract.message import Message

COMMAND_IDS = UUID("6f1b2f7e-6b7a-5c62-9d0f-0f5b6d1c8a11")
"""Namespace of command ids: changing it would let every saga in flight act twice."""


@lru_cache(4096)
def command_id_of(saga_id: str, run_id: str, what: str) -> UUID:
    """The id of a command: the same for the same saga, first run and step (or undo of a step), in every replay."""
    return uuid5(COMMAND_IDS, f"{saga_id}\n{run_id}\n{what}")


class Role(StrEnum):
    """The purpose of a dispatch: to carry out a command, to undo it or to settle it."""

    FORWARD = "forward"
    UNDO = "undo"
    """The undo of a single step, which the saga goes on without."""
    TURN = "turn"
    """An undo that belongs to the saga's end: it turns the saga back if it has not turned yet."""
    SETTLE = "settle"


class Standing(Message):
    """The place of a dispatch's sender in its saga, which a service holds against the saga's record.

    A standing travels beside its dispatch, in a header of the activity: services of the release before do not know it,
    and a dispatch that the release before sent comes without.
    """

    model_config = ConfigDict(extra="ignore")

    namespace: str = ""
    epoch: int
    """The epoch of the run: what an earlier run sent out and has not begun is refused."""
    who: str = ""
    """The run that sends the dispatch.

    Left out of the header, like the namespace, where that run scheduled the activity.
    """
    role: Role = Role.FORWARD
    sent: bool = False
    """For an undo or a settlement: the original was sent out, so that an external effect may be there without a row."""
    answered: bool = False
    """The original was answered, too: the store must know of it."""
    corrected: bool = False
    """A person corrected the original's command, on record: the stored one is not what is to be undone."""
    done: tuple[UUID, ...] = ()
    """For a pivot: the commands that the saga counts on."""
    keys: tuple[str, ...] = ()
    """The steps of `done`, in the same order."""
    children: tuple[UUID, ...] = ()
    """For a pivot: the steps of child sagas that completed."""
    child_keys: tuple[str, ...] = ()
    """The keys of `children`, in the same order."""
    child_ids: tuple[str, ...] = ()
    """The workflow ids of `children`, in the same order."""
    skipped: tuple[UUID, ...] = ()
    """For a pivot: the commands that a person gave up."""


class Dispatch(Message):
    """The identity of a command, which travels with it: which step of which saga it is."""

    # Services of a later release may be told more.
    model_config = ConfigDict(extra="ignore")

    command_id: UUID
    """The idempotency key: the same for every attempt and every replay of this step."""
    saga_id: str
    saga_type: str
    step: str
    correlation_id: str
    causation_id: str
    """The saga's first run."""
    undoes: UUID | None = None
    """For a compensation: the id of the command to undo."""
    standing: Standing | None = Field(default=None, exclude=True)
    attempt: int = Field(default=1, exclude=True)
    """Temporal's number of the attempt, which outlives the store.

    One more each time that an attempt asks its handler anew, because another writer was faster.
    """
    server_since: datetime | None = Field(default=None, exclude=True)
    """The start of the database's server at the time that an external effect was begun.

    A server that was started later may have forgotten other attempts.
    """

    def metadata(self) -> dict[str, str]:
        """The metadata of events that this command causes."""
        return {
            "correlation_id": self.correlation_id,
            "causation_id": str(self.command_id),
            "saga": self.saga_id,
            "step": self.step,
        }

    @property
    def original(self) -> Self:
        """The dispatch of the command that this one undoes."""
        if self.undoes is None:
            raise ValueError("not a compensation")
        return self.model_copy(update={"command_id": self.undoes, "undoes": None})

"""What travels beside a command: which step of which saga it is, and where its sender stands."""

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
    """The same for the same saga, first run and step (or undo of a step), in every replay."""
    return uuid5(COMMAND_IDS, f"{saga_id}\n{run_id}\n{what}")


class Role(StrEnum):
    """What a dispatch asks for."""

    FORWARD = "forward"
    UNDO = "undo"
    """The undo of a single step, which the saga goes on without."""
    TURN = "turn"
    """An undo that belongs to the saga's end: it turns the saga back if it has not turned yet."""
    SETTLE = "settle"


class Standing(Message):
    """Where a dispatch's sender stands: what the saga's record is held against.

    It travels beside the dispatch, in a header of the activity: services of the release before do not know it, and one
    that was sent by the release before comes without.
    """

    model_config = ConfigDict(extra="ignore")

    namespace: str = ""
    epoch: int
    """That of the run: what an earlier run sent out and has not begun is refused."""
    who: str = ""
    """The run that sends it. Left out of the header, like the namespace, where the activity was scheduled by it."""
    role: Role = Role.FORWARD
    sent: bool = False
    """For an undo or a settlement: the original was sent out, so that an external effect may be there without a row."""
    answered: bool = False
    """And it was answered: the store must know of it."""
    corrected: bool = False
    """And a person corrected its command, on the record: the stored one is not what is to be undone."""
    done: tuple[UUID, ...] = ()
    """For a pivot: the commands that the saga counts on."""
    keys: tuple[str, ...] = ()
    """And their steps."""
    children: tuple[UUID, ...] = ()
    """And the steps of child sagas that completed."""
    child_keys: tuple[str, ...] = ()
    """And their keys, in the same order."""
    child_ids: tuple[str, ...] = ()
    """And the workflow ids of the children."""
    skipped: tuple[UUID, ...] = ()
    """And those that a person gave up."""


class Dispatch(Message):
    """What travels with every command: which step of which saga it is."""

    # Services of a later release may be told more.
    model_config = ConfigDict(extra="ignore")

    command_id: UUID
    """The same for every attempt and every replay of this step: the idempotency key."""
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
    """Temporal's number of the attempt, which outlives the store; one more each time that an attempt asks its handler anew, because
    another writer was faster."""
    server_since: datetime | None = Field(default=None, exclude=True)
    """When the database's server was started that an external effect was begun in: a later one may have forgotten others."""

    def metadata(self) -> dict[str, str]:
        """What events caused by this command carry."""
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

"""What is known of a run that is over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from counteract.lifecycle import LifecycleEvent
from counteract.messages import Command
from counteract.messages import Role as SentAs
from counteract.participants.handlers import Role
from counteract.saga import Resolution, SagaReport
from counteract.testing.exploration.faults import Ending, Place
from counteract.testing.exploration.worker.witness import Witnessed
from counteract.testing.protocol import Trace


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `commands`."""

    command_id: UUID
    status: str
    step: str
    activity: str
    undoes: UUID | None
    recorded_at: datetime | None
    saga_type: str = ""
    task_queue: str = ""
    command: Any = None
    """As JSON."""
    result: Any = None
    """As JSON."""


@dataclass(frozen=True, slots=True)
class End:
    """How the workflow ended, as it says itself."""

    ending: Ending
    why: str = ""
    report: SagaReport | None = None
    """In its failure's details."""
    cause: BaseException | None = None
    """Of its failure."""


class Shown(NamedTuple):
    """The search attributes as the saga set them."""

    status: str
    step: str


@dataclass(slots=True)
class Sent:
    """One activity in the workflow's history."""

    place: Place
    command: type[Command[Any]]
    command_id: UUID
    begun: int
    """The event's id: the order of history."""
    group: int
    """Activities that one workflow task scheduled share it."""
    repeats: bool
    key: str
    """The step's own key, which counts how often a person had it tried again."""
    activity: str
    undoes: UUID | None
    sent_as: SentAs | None = None
    """What its header says of it; None: it has none."""
    ended: int | None = None
    succeeded: bool = False
    failed: str = ""
    """The type of the failure that it ended with, where a service gave one."""
    is_final: bool = True
    """Nobody was to ask again after that failure."""
    is_lost: bool = False
    """Its heartbeats stayed away."""
    answer: Any = None
    """As JSON."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a run that is over."""

    ending: Ending
    why: str
    report: SagaReport | None
    lifecycle: Sequence[LifecycleEvent]
    rows: Sequence[Row]
    sent: Sequence[Sent]
    journal: Sequence[Witnessed]
    complaints: Sequence[str]
    commands: Mapping[UUID, Command[Any]] = field(default_factory=dict)
    """What the workflow sent, by command id."""
    end: End = End(Ending.UNKNOWN)
    saga_type: str = ""
    run_id: str = ""
    """The first one's."""
    shown: Sequence[Shown] = ()
    """In the order in which they were set."""
    attributes: Shown | None = None
    """As the server shows them in the end."""
    together: Collection[str] = ()
    """The steps that were sent with `parallel`, beside others."""
    unanswered: Collection[str] = ()
    """Those whose answer did not come to the saga's code: it went on with an error."""
    refused: Collection[UUID] = ()
    """The commands that a fault had refused."""
    vanished: Collection[UUID] = ()
    """Those whose worker a fault had killed."""
    forgotten: Collection[UUID] = ()
    """Those whose row a fault has taken from the store."""
    timers: Sequence[timedelta] = ()
    deadline: timedelta | None = None
    """As the saga declares it."""
    workflow_tasks: int = 0
    """In how many decisions the workflow's code came to its end."""
    record: str | None = None
    """The state of the saga's record."""
    traces: Sequence[Trace] = ()
    """What the tables say of each saga of this id, for the monitor."""
    runs_again: bool = False
    """Several runs went over the same steps, so that the last one's own account is not the whole of it."""
    decisions: Sequence[Resolution] = ()
    """About stuck steps; each was accepted."""
    resets: int = 0
    is_paused: bool = False
    """It was told to pause, and came to its end before it could be told to go on."""
    task_failure: str = ""
    """Why the workflow's code did not get on, where it did not."""

    def steps(self) -> list[Sent]:
        """The steps in start order, each once."""
        first: dict[str, Sent] = {}
        for each in self.sent:
            if each.place.role is Role.HANDLES:
                first.setdefault(each.place.step, each)
        return list(first.values())

    def of(self, role: Role) -> list[Sent]:
        return [each for each in self.sent if each.place.role is role]

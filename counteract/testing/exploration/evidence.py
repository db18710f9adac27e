"""Everything that is known of a run that is over, as those read it who judge it."""

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
    """The report in the details of its failure."""
    cause: BaseException | None = None
    """The cause of its failure."""


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
    """The event's id, by which activities are in the order of history."""
    group: int
    """Activities that one workflow task scheduled share it."""
    repeats: bool
    key: str
    """The step's own key, which counts how often a person had it tried again."""
    activity: str
    undoes: UUID | None
    sent_as: SentAs | None = None
    """The role in its header; None where it has no such header."""
    ended: int | None = None
    succeeded: bool = False
    failed: str = ""
    """The type of the failure that it ended with, where a service gave one."""
    is_final: bool = True
    """Whether that failure forbids another attempt."""
    is_lost: bool = False
    """Whether it was given up because its heartbeats stayed away."""
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
    """The commands that the workflow sent, by command id."""
    end: End = End(Ending.UNKNOWN)
    saga_type: str = ""
    run_id: str = ""
    """The run id of the workflow's first run."""
    shown: Sequence[Shown] = ()
    """The search attributes, in the order in which they were set."""
    attributes: Shown | None = None
    """The search attributes as the server shows them in the end."""
    together: Collection[str] = ()
    """The steps that were sent with `parallel`, beside others."""
    unanswered: Collection[str] = ()
    """The steps whose answer did not come to the saga's code: it was given an error."""
    refused: Collection[UUID] = ()
    """The commands that a fault had refused."""
    vanished: Collection[UUID] = ()
    """The commands whose worker a fault had killed."""
    forgotten: Collection[UUID] = ()
    """The commands whose row a fault has taken from the store."""
    timers: Sequence[timedelta] = ()
    deadline: timedelta | None = None
    """The saga's deadline, as it declares it."""
    workflow_tasks: int = 0
    """The number of workflow tasks that were completed."""
    record: str | None = None
    """The state of the saga's record."""
    traces: Sequence[Trace] = ()
    """The tables' content for each saga of this id, for the monitor."""
    runs_again: bool = False
    """Whether several runs went over the same steps, so that the report of the last one is not the whole of it."""
    decisions: Sequence[Resolution] = ()
    """The decisions of people about stuck steps; the saga accepted each of them."""
    resets: int = 0
    is_paused: bool = False
    """Whether it was told to pause, and came to its end before it could be told to go on."""
    task_failure: str = ""
    """The error of the workflow's own code, or the engine's, if there was one."""

    def steps(self) -> list[Sent]:
        """The steps in start order, each once."""
        first: dict[str, Sent] = {}
        for each in self.sent:
            if each.place.role is Role.HANDLES:
                first.setdefault(each.place.step, each)
        return list(first.values())

    def of(self, role: Role) -> list[Sent]:
        """The activities of this role, in the order of history."""
        return [each for each in self.sent if each.place.role is role]

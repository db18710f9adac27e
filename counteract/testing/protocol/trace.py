"""The tables' content for one saga, as the monitor takes it; read with one query for any number of sagas."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from counteract.messages import Role, command_id_of
from counteract.store import PostgresEventStore

_FORGOTTEN = "the store had no record of it"
"""The reason with which a saga's record is made anew once commits were lost."""

# Each saga as one JSON document: a join would repeat its record for every combination of rows and events. Its commands are
# found by index only where the ids are compared as that index has them.
_TRACES = """
    select jsonb_build_object(
        'record', jsonb_build_object(
            'saga_id', s.saga_id, 'run_id', s.run_id, 'state', s.state, 'epoch', s.epoch,
            'began_at', s.began_at, 'since', s.since, 'why', s.why),
        'rows', coalesce((
            select jsonb_agg(jsonb_build_object(
                'command_id', c.command_id, 'key', c.step, 'status', c.status, 'kind', c.kind, 'undoes', c.undoes,
                'epoch', c.epoch, 'begun', c.begun, 'started_at', c.started_at, 'recorded_at', c.recorded_at,
                'undone_since', c.undone_since, 'late_since', c.late_since, 'lost', coalesce(c.lost, false)))
            from commands c where c.saga_id = s.saga_id collate "default" and c.run_id = s.run_id), '[]'),
        'children', coalesce((
            select jsonb_agg(jsonb_build_object('key', k.parent_step, 'state', k.state))
            from sagas k
            where k.parent_saga_id = s.saga_id and k.parent_run_id = s.run_id and k.parent_step is not null), '[]'),
        'told', coalesce((
            select jsonb_agg(jsonb_build_object(
                'event_type', e.event_type, 'step', e.event_data ->> 'step', 'decision', e.event_data ->> 'decision',
                'names', coalesce(e.event_data -> 'steps', e.event_data -> 'skipped', '[]'),
                'undone', coalesce(e.event_data -> 'undone', '[]')) order by e.version)
            from events e
            where e.aggregate_type = 'saga' and e.aggregate_id = s.saga_id and e.event_data ->> 'run_id' = s.run_id),
            '[]'))
    from sagas s where s.saga_id = any(%s) order by s.began_at desc
"""


@dataclass(frozen=True, slots=True)
class Record:
    """The saga's row in `sagas`."""

    saga_id: str
    run_id: str
    state: str
    epoch: int
    began_at: datetime
    since: datetime
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One of the saga's rows in `commands`: a step, or the undo or settlement of one."""

    command_id: UUID
    key: str
    status: str
    recorded_at: datetime
    kind: str | None = None
    undoes: UUID | None = None
    epoch: int | None = None
    """The epoch of the run that sent it; None where the release before wrote the row."""
    begun: int | None = None
    started_at: datetime | None = None
    undone_since: datetime | None = None
    late_since: datetime | None = None
    lost: bool = False

    @property
    def is_step(self) -> bool:
        """Whether it is a step, and not the undo or settlement of one."""
        return self.undoes is None and self.kind is not None

    @property
    def has_begun(self) -> bool:
        """Whether its service began it; a beginning that a fence noted, as it mistrusts the store, does not count."""
        return self.started_at is not None and not self.lost

    @property
    def may_have_applied(self) -> bool:
        """Whether nothing in the row rules out that the step took effect."""
        return self.status in ("done", "started") or (self.status == "fenced" and self.started_at is not None)


@dataclass(frozen=True, slots=True)
class Child:
    """The record of a child saga."""

    key: str
    """The step of the parent that is the child."""
    state: str


@dataclass(frozen=True, slots=True)
class Told:
    """A lifecycle event of the saga."""

    event_type: str
    step: str | None = None
    decision: str | None = None
    names: Sequence[str] = ()
    """The steps that SagaCompleted says were carried out, or that SagaCompensated says were skipped."""
    undone: Sequence[str] = ()
    """The steps that SagaCompensated says were undone."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The tables' content for one saga."""

    record: Record
    rows: Sequence[Row] = ()
    children: Sequence[Child] = ()
    told: Sequence[Told] = ()
    """The saga's lifecycle events, in the order of the log."""
    roles: Mapping[UUID, Set[Role]] = field(default_factory=dict)
    """The roles in which each undo was sent, by its own id, where histories are at hand that say so."""
    lost_commits: bool = False
    """Whether the store lost commits of it, so that the order of events is not known."""

    @property
    def forgot(self) -> bool:
        """Whether the store lost commits of the saga, as its record or the caller says."""
        return self.lost_commits or self.record.why == _FORGOTTEN

    @property
    def steps(self) -> list[Row]:
        """The rows of its steps."""
        return [row for row in self.rows if row.is_step]

    def undoing(self, step: Row) -> list[Row]:
        """The rows of the step's undo or settlement, and of the undos of effects that came late."""
        return [row for row in self.rows if row.undoes == step.command_id]

    def is_late_undo(self, undo: Row) -> bool:
        """Whether it undoes an effect that came after the step's undo: such an undo has an id of its own."""
        return undo.command_id != command_id_of(self.record.saga_id, self.record.run_id, f"undo {undo.key}")

    @property
    def skipped(self) -> set[str]:
        """The steps that a person gave up."""
        given_up = {each.step for each in self.told if each.decision == "skip" and each.step}
        named = (each.names for each in self.told if each.event_type == "SagaCompensated")
        return {name_of(key) for key in given_up.union(*named)}

    @property
    def is_closed_by_hand(self) -> bool:
        """Whether a person has put on record that the saga was finished by hand."""
        return any(each.decision == "close" for each in self.told)


def name_of(key: str) -> str:
    """A step's key without the number of times that a person had it tried again."""
    return key.partition("~")[0]


async def traces(store: PostgresEventStore, saga_ids: Collection[str]) -> list[Trace]:
    """The traces of all sagas with these workflow ids, the newest first."""
    async with store.connection() as connection:
        found = await (await connection.execute(_TRACES, (list(saga_ids),))).fetchall()
    return [_traces().validate_python(trace) for (trace,) in found]


@cache
def _traces() -> TypeAdapter[Any]:
    return TypeAdapter(Trace)

"""What every part of the model asks about the environment and the rules in force."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from docs.protocol.environments import Environment
from docs.protocol.record import counts_hold, may_be_in_force
from docs.protocol.state import APPLIED, NOT_SENT, UNKNOWN, Record, State, put


@dataclass(frozen=True)
class Setting:
    """An environment and the rules in force."""

    environment: Environment
    rules: frozenset[str]

    @cached_property
    def size(self) -> int:
        return len(self.environment.steps)

    @cached_property
    def pivot(self) -> int | None:
        return self.environment.pivot

    @property
    def the_pivot(self) -> int:
        """Where there is one, as a run knows that settles it."""
        if self.pivot is None:
            raise ValueError(f"{self.environment.name} has no pivot")
        return self.pivot

    @cached_property
    def compensatable(self) -> tuple[int, ...]:
        return self.environment.compensatable

    @cached_property
    def at_pivot(self) -> int:
        """The bit by which a run knows that the record was at its pivot when it opened: nothing is undone singly then."""
        return 1 << self.size

    def name(self, step: int) -> str:
        return self.environment.steps[step].name

    def may_stand(self, state: State, pivot: int) -> bool:
        """It has begun, and nobody has put on record what became of it: fenced by a settlement it is as open as before."""
        row = state.rows[pivot]
        return row.status == "started" or (row.status == "midway" and not row.undone)

    def another_may_stand(self, state: State, pivot: int | None) -> bool:
        return any(at != pivot and self.may_stand(state, at) for at in self.environment.pivots)

    def left(self, state: State) -> str:
        """The steps that may be in force, as the store has them: u, or n. None where the rule is taken away."""
        if "A7.rest" not in self.rules:
            return NOT_SENT * self.size
        rows = enumerate(state.rows)
        return "".join(UNKNOWN if at in self.compensatable and may_be_in_force(row) else NOT_SENT for at, row in rows)

    def another_stands(self, state: State, pivot: int) -> bool:
        return any(at != pivot and state.rows[at].status == "done" for at in self.environment.pivots)

    def record_at(self, state: State, step: int) -> Record:
        """The record as the database of this step knows it."""
        database = self.environment.steps[step].database
        return state.mirrors[database - 1] if database else state.record

    def with_record_at(self, state: State, step: int, record: Record) -> State:
        database = self.environment.steps[step].database
        if not database:
            return state._replace(record=record)
        return state._replace(mirrors=put(state.mirrors, database - 1, record))

    def counts_hold(self, state: State, counts: str) -> bool:
        """Whether the saga's own database agrees; another's rows it cannot see."""
        near = "".join("n" if self.environment.steps[at].database else counts[at] for at in range(self.size))
        return counts_hold(state.rows, near)

    def undo_effect(self, state: State, step: int, effect: str) -> State:
        """The effect is taken back, which past the pivot it must not be."""
        broken = state.broken
        if state.effects[step] == APPLIED and any(state.effects[at] == APPLIED for at in self.environment.pivots):
            broken = f"{self.name(step)} is undone past the pivot"
        return state._replace(effects=put(state.effects, step, effect), broken=broken)

"""One saga in one environment: every way from a state to the next, and what must hold in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from docs.protocol import participants, recovery, run, world
from docs.protocol.environments import Environment
from docs.protocol.reduction import Reduction
from docs.protocol.setting import Setting
from docs.protocol.state import (
    APPLIED,
    BARRED,
    COMPENSATED,
    COMPLETED,
    ENDED,
    INCOMPLETE,
    LATE_MARK,
    LATE_UNDO,
    NEVER,
    NO_ATTEMPTS,
    NO_RECORD,
    NO_ROW,
    UNDONE,
    Label,
    Record,
    Recovery,
    Run,
    State,
)


@dataclass(frozen=True)
class SagaMachine:
    """The saga of one environment under some of the rules."""

    setting: Setting
    _reduction: Reduction

    @classmethod
    def of(cls, environment: Environment, rules: frozenset[str]) -> SagaMachine:
        setting = Setting(environment, rules)
        return cls(setting, Reduction(setting))

    def initial(self) -> State:
        environment = self.setting.environment
        size = len(environment.steps)
        return State(
            record=Record(NO_RECORD, 0),
            mirrors=(Record(NO_RECORD, 0),) * environment.databases,
            rows=(NO_ROW,) * size,
            effects=(NEVER,) * size,
            attempts=(NO_ATTEMPTS,) * size,
            sent=frozenset(),
            run=Run("opening", 1, 0, 0, "n" * size, 0, False),
            recoveries=(Recovery("idle", ""),) * environment.recoveries,
            reported="",
            relied=0,
            broken="",
            resets=environment.resets,
            copy=None,
            losses=environment.losses,
            pruned=False,
        )

    def successors(self, state: State) -> Iterator[tuple[Label, State]]:
        if state.broken:
            return
        for part in (run, participants, recovery, world):
            for label, after in part.moves(self.setting, state):
                yield label, self._reduction.of(after)

    def ended(self, state: State) -> bool:
        """Whether somebody was told how it ended, and the record agrees."""
        if state.record.state == NO_RECORD and not state.pruned:
            return state.run.mode in ("dead", "over") and all(effect in (NEVER, BARRED) for effect in state.effects)
        if state.reported == INCOMPLETE:
            return True
        if self.setting.environment.losses and state.reported == COMPLETED and state.run.mode == "over":
            # By its history it completed: where the store forgot that, it is reported, and never recovered.
            return True
        return state.reported in ENDED and (state.record.state == state.reported or state.pruned)

    def broken(self, state: State) -> str:
        """The promise that does not hold in this state."""
        if state.broken:
            return state.broken
        stand = [at for at in self.setting.environment.pivots if state.effects[at] == APPLIED]
        if len(stand) > 1:
            return " and ".join(map(self.setting.name, stand)) + " have both taken effect"
        if state.reported == COMPENSATED and (state.record.state == COMPENSATED or state.pruned):
            return self._left_over(state)
        if state.reported == COMPLETED and (state.record.state == COMPLETED or state.pruned):
            return self._not_complete(state)
        return ""

    def _left_over(self, state: State) -> str:
        for step, effect in enumerate(state.effects):
            looked_after = state.attempts[step].undoing & (LATE_UNDO | LATE_MARK) or state.attempts[step].holding
            if effect == APPLIED and not (self.setting.environment.attempts_end and looked_after):
                return f"reported COMPENSATED while {self.setting.name(step)} is in force"
        return ""

    def _not_complete(self, state: State) -> str:
        for step, effect in enumerate(state.effects):
            counted = state.relied >> step & 1
            if counted and effect == UNDONE:
                return f"reported COMPLETED while {self.setting.name(step)}, which it counts on, is undone"
            if not counted and effect == APPLIED:
                return f"reported COMPLETED while {self.setting.name(step)} is in force, and nobody knows of it"
        return ""

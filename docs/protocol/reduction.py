"""Leaves out of a state what can make no difference any more, so that states which only differ in it are one.

Each reduction is sound because nothing that can still happen reads what it drops. None is made where a store may forget or rows
are deleted, for then what is final need not stay so; and none that rests on a rule is made where that rule is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from docs.protocol.environments import COMPENSATABLE
from docs.protocol.record import may_run
from docs.protocol.setting import Setting
from docs.protocol.state import (
    AT_PIVOT,
    BARRED,
    DONE_HELD,
    END_UNDO,
    ENDED,
    FIRST_REFUSAL,
    FORWARD,
    LATER_REFUSAL,
    NO_ATTEMPTS,
    NOT_SENT,
    PAST,
    SINGLE_UNDO,
    TURNING,
    UNDONE,
    Attempts,
    Message,
    Recovery,
    Row,
    Run,
    State,
)

Part = tuple[Row, str, Attempts]
_CLOSING = frozenset(("A1.first", "A2.forward", "A2.pivot", "A2.undo", "A2.single", "A2.lock"))
"""The rules by which nothing can be recorded any more once the end is."""
_UNDONE_ROW = Row("fenced", 0, False, True, 0)


@dataclass(frozen=True)
class Reduction:
    """The reductions of one setting. Parts that were reduced once are remembered."""

    setting: Setting
    _parts: dict[tuple[int, Part], Part] = field(default_factory=dict)

    def of(self, state: State) -> State:
        environment = self.setting.environment
        if environment.losses or environment.prunes or environment.attempts_end or state.broken:
            return state
        if self.setting.rules >= _CLOSING and state.record.state in ENDED:
            state = self._over(state)
        parts = [
            self._part(at, part) for at, part in enumerate(zip(state.rows, state.effects, state.attempts, strict=True))
        ]
        rows, effects, attempts = zip(*parts, strict=True)
        sent = state.sent
        if sent:
            spent = [message for message in sent if self._spent(state, message)]
            sent = sent.difference(spent) if spent else sent
        return State(state.record, state.mirrors, rows, effects, attempts, sent, self._run(state), *state[7:])

    def _over(self, state: State) -> State:
        """The end is on record: further runs and recoveries only find it. What attempts still do outside remains."""
        return state._replace(
            run=self._dead(),
            recoveries=(Recovery("idle", ""),) * len(state.recoveries),
            resets=0,
            sent=frozenset(),
            mirrors=(),
        )

    def _dead(self) -> Run:
        return Run("dead", 0, 0, 0, NOT_SENT * self.setting.size, 0, False)

    def _run(self, state: State) -> Run:
        run = state.run
        if run.mode in ("dead", "over"):
            # Only a further run asks what a run that is over knew; recovery asks the record.
            return (
                self._dead()
                if not state.resets
                else run._replace(
                    mode="dead", epoch=run.epoch if self.setting.environment.hands_on else 0, seen=0, turned=False
                )
            )
        seen = run.seen
        if seen:
            # What the run knows of a step supersedes what it found on record of it.
            for at, letter in enumerate(run.knows):
                if letter != NOT_SENT:
                    seen &= ~(1 << at)
        if seen != run.seen or run.turned:
            return run._replace(seen=seen, turned=False)
        return run

    def _part(self, step: int, part: Part) -> Part:
        known = self._parts.get((step, part))
        if known is None:
            known = self._parts[step, part] = self._reduced(step, *part)
        return known

    def _reduced(self, step: int, row: Row, effect: str, attempts: Attempts) -> Part:
        compensatable = self.setting.environment.steps[step].kind == COMPENSATABLE
        if row.undone and row.status != "rejected":
            row = _UNDONE_ROW
        elif row.status in ("done", "rejected", "midway"):
            row = row._replace(begun=0)
        if attempts == NO_ATTEMPTS:
            return row, effect, attempts
        uncalled, fresh, holding, undoing = attempts
        if effect in (UNDONE, BARRED) or (row.status == "done" and not row.marked):
            # The provider does nothing any more, or the call would only repeat the answer that is on record.
            uncalled = 0
        holding = self._held(row, holding, compensatable=compensatable)
        fresh = fresh and uncalled > 0 and row.begun < 2
        if (row.undone and effect in (UNDONE, BARRED)) or (
            not self.setting.environment.steps[step].external and row.undone
        ):
            undoing = 0
        elif undoing & (SINGLE_UNDO | END_UNDO):
            undoing &= SINGLE_UNDO | END_UNDO
        return row, effect, Attempts(uncalled, fresh, holding, undoing)

    def _held(self, row: Row, holding: int, *, compensatable: bool) -> int:
        """What is held and can never be recorded, or changes nothing where it is, is dropped."""
        rules = self.setting.rules
        if "B2.attempt" in rules:
            holding &= ~LATER_REFUSAL
        if row.begun > 1 and "B2.begun" in rules:
            holding &= ~(FIRST_REFUSAL | LATER_REFUSAL)
        if row.status in ("done", "rejected", "fenced", "midway"):
            holding &= ~(FIRST_REFUSAL | LATER_REFUSAL)
        if row.status in ("done", "rejected", "fenced") or (row.status == "midway" and not compensatable):
            holding &= ~DONE_HELD
        return holding

    def _spent(self, state: State, message: Message) -> bool:
        """A message whose delivery, now or later, can only repeat an answer; runs learn answers from the record."""
        what, step = message[0], message[1]
        if step < 0:
            return state.record.state in ENDED and "A1.first" in self.setting.rules
        row = state.rows[step]
        if what == "settle":
            return row.undone or row.status in ("done", "rejected")
        if what == "do":
            return self._command_spent(state, message, row)
        return row.undone or self._undo_spent(state, step, single=what == "undo one")

    def _command_spent(self, state: State, message: Message, row: Row) -> bool:
        if row.status in ("done", "rejected", "fenced", "midway"):
            return True
        step, epoch, rules = message[1], message[2], self.setting.rules
        record = self.setting.record_at(state, step)
        if row.status == "none" and epoch < record.epoch and "epoch.commands" in rules:
            return True
        kind = self.setting.environment.steps[step].kind
        return not any(may_run(rules, kind, later) for later in self._later(record.state))

    def _undo_spent(self, state: State, step: int, *, single: bool) -> bool:
        named = "A2.single" if single else "A2.undo"
        if named not in self.setting.rules:
            return False
        wanted = (FORWARD,) if single else (FORWARD, TURNING)
        return not any(later in wanted for later in self._later(self.setting.record_at(state, step).state))

    def _later(self, state: str) -> tuple[str, ...]:
        """The states that a record can come to from this one, with it."""
        if state in (PAST, TURNING, *ENDED) and "A1.first" in self.setting.rules:
            return (state,)
        return ("none", FORWARD, AT_PIVOT, PAST, TURNING)

"""The ledger against a naive model of the protocol, through any sequence of steps, outcomes, failures and undos."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from counteract import Compensatable, Outcome, Pivot, Retriable
from counteract.errors import SagaMisuse
from counteract.messages import CommandKind
from counteract.saga.continue_as_new import Carried, CarriedStep, Earlier
from counteract.saga.ledger import Ledger, Step, Undoing


class Act(Compensatable[None], service="ledger-properties", compensation="Revert"):
    """A step before the pivot."""


class Commit(Pivot[None], service="ledger-properties"):
    """The point of no return."""


class Follow(Retriable[None], service="ledger-properties"):
    """A step after it."""


@dataclass
class Told:
    """What the model remembers of one step: only what it was told, in the order in which it was told."""

    key: str
    kind: CommandKind
    group: int
    outcome: Outcome | None = None
    over: bool = False
    disowned: bool = False


class LedgerAndModel(RuleBasedStateMachine):
    """Drives both, and compares what they would undo."""

    steps = Bundle("steps")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.told: list[Told] = []
        self.groups = 0
        self.sent: set[str] = set()

    # The model's words for the protocol.

    def pivot(self) -> Told | None:
        standing = [each for each in self.told if each.kind is CommandKind.PIVOT]
        return next((each for each in standing if each.outcome is not Outcome.NOT_APPLIED), None)

    def to_undo(self) -> list[set[str]]:
        """From the last group to the first: whatever can be undone, was not refused, and is not over."""
        pivot = self.pivot()
        if pivot is not None and pivot.outcome is Outcome.APPLIED:
            return []
        owed = [
            {
                each.key
                for each in self.told
                if each.group == group
                and each.kind is CommandKind.COMPENSATABLE
                and each.outcome is not Outcome.NOT_APPLIED
                and not each.over
            }
            for group in range(self.groups, 0, -1)
        ]
        return [group for group in owed if group]

    # What may happen to a saga.

    def begun(self, steps: list[Step]) -> None:
        self.groups += 1
        self.told += [Told(step.key, step.kind, self.groups) for step in steps]
        self.sent |= {step.dispatch_key for step in steps}

    @rule(target=steps, width=st.integers(1, 4))
    def begin_some(self, width: int) -> object:
        if self.pivot() is not None:
            with pytest.raises(SagaMisuse):
                self.ledger.begin([Act()] * width)
            return multiple()
        steps = self.ledger.begin([Act() for _ in range(width)])
        self.begun(steps)
        return multiple(*steps)

    @rule(target=steps)
    def begin_pivot(self) -> object:
        if self.pivot() is not None or any(each.outcome is None for each in self.told):
            with pytest.raises(SagaMisuse):
                self.ledger.begin([Commit()])
            return multiple()
        steps = self.ledger.begin([Commit()])
        self.begun(steps)
        return multiple(*steps)

    @rule(target=steps)
    def begin_following(self) -> object:
        pivot = self.pivot()
        if pivot is None or pivot.outcome is not Outcome.APPLIED:
            with pytest.raises(SagaMisuse):
                self.ledger.begin([Follow()])
            return multiple()
        steps = self.ledger.begin([Follow()])
        self.begun(steps)
        return multiple(*steps)

    @rule(step=steps, outcome=st.sampled_from(Outcome))
    def settle_one(self, step: Step, outcome: Outcome) -> None:
        self.settle(step, outcome)

    def settle(self, step: Step, outcome: Outcome) -> None:
        told = self.of(step)
        if told.kind is CommandKind.PIVOT and outcome is Outcome.UNKNOWN:
            return  # a pivot is settled before its outcome is written down
        self.ledger.settle(self.today(step), outcome)
        told.outcome = told.outcome or outcome

    @rule(outcome=st.sampled_from([Outcome.APPLIED, Outcome.NOT_APPLIED]))
    def settle_all(self, outcome: Outcome) -> None:
        """Without it a pivot, which waits for every step, would seldom be reached."""
        for step in self.ledger.in_flight:
            self.settle(step, outcome)

    @precondition(lambda self: self.to_undo())
    @rule(end=st.sampled_from([Undoing.UNDONE, Undoing.SKIPPED]))
    def undo_next(self, end: Undoing) -> None:
        step = self.ledger.undo_plan()[0][0]
        step.undoing = end
        self.of(step).over = True

    @rule(step=steps)
    def try_again(self, step: Step) -> None:
        """A person has it sent again once it was refused, or may have happened and has been undone."""
        told, step = self.of(step), self.today(step)
        if told.kind is CommandKind.RETRIABLE or not (told.outcome is Outcome.NOT_APPLIED or told.over):
            return
        in_the_way = self.pivot() is not None
        if told.kind is CommandKind.PIVOT:
            in_the_way = in_the_way or any(each.outcome is None for each in self.told)
        if in_the_way:
            with pytest.raises(SagaMisuse):
                self.ledger.again(step, step.command)
            return
        self.ledger.again(step, step.command)
        told.outcome, told.over = None, False
        assert step.dispatch_key not in self.sent, "a command that was sent before has its answer on record"
        self.sent.add(step.dispatch_key)

    @rule(step=steps)
    def lose_its_answer(self, step: Step) -> None:
        """The saga's code gave up waiting for it."""
        self.ledger.disown([self.today(step)])
        self.of(step).disowned = True

    @rule()
    def continue_as_new(self) -> None:
        """The next run knows no more than what travels as JSON, once nothing is in flight."""
        self.settle_all(Outcome.APPLIED)
        carried = Carried(begun=True, steps=tuple(map(CarriedStep.of, self.ledger.steps)))
        self.ledger = Earlier(Carried.model_validate_json(carried.model_dump_json()), None).ledger()

    # What must always hold.

    @invariant()
    def both_would_undo_the_same_in_the_same_order(self) -> None:
        assert [{step.key for step in group} for group in self.ledger.undo_plan()] == self.to_undo()

    @invariant()
    def nothing_is_undone_past_the_pivot(self) -> None:
        assert not (self.ledger.past_pivot and self.ledger.undo_plan())

    @invariant()
    def nobody_knows_is_part_of_what_is_owed(self) -> None:
        unknown = {step.key for group in self.ledger.unknown() for step in group}
        doubted = [each for each in self.told if each.outcome is Outcome.UNKNOWN or each.disowned]
        owed = {each.key for each in doubted if each.outcome in (Outcome.UNKNOWN, Outcome.APPLIED) and not each.over}
        assert unknown == {key for key in owed if self.kind(key) is CommandKind.COMPENSATABLE}

    @invariant()
    def keys_are_unique(self) -> None:
        assert len({step.key for step in self.ledger.steps}) == len(self.ledger.steps)

    def of(self, step: Step) -> Told:
        return next(each for each in self.told if each.key == step.key)

    def today(self, step: Step) -> Step:
        """The same step in the ledger of the present run."""
        return next(each for each in self.ledger.steps if each.key == step.key)

    def kind(self, key: str) -> CommandKind:
        return next(each.kind for each in self.told if each.key == key)


TestLedgerAndModel = LedgerAndModel.TestCase
TestLedgerAndModel.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
pytestmark = pytest.mark.property

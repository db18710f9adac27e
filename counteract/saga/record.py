"""The saga's record, as one of its runs knows it: what has been decided, and which steps other runs left behind.

The record itself is in the store, and decides; see docs/decisions/0086.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from uuid import UUID

from temporalio import workflow
from temporalio.exceptions import ActivityError

from counteract.commands import command_type
from counteract.errors import CommandIdReused, ConfigurationError, SagaReset, SagaTurnedBack, UnreadableCommand
from counteract.lifecycle import (
    Ending,
    Opened,
    Opening,
    Parent,
    RecordedStep,
)
from counteract.messages import Command, CommandKind, Outcome
from counteract.saga.answers import UnreadableAnswer
from counteract.saga.children import ChildSaga
from counteract.saga.continue_as_new import CarriedMore, CarriedRecord, Earlier
from counteract.saga.dispatcher import Dispatcher
from counteract.saga.ledger import Ledger, Step, Undoing, name_of, tries_of
from counteract.saga.lifecycle import Chronicle
from counteract.saga.lookups import Lookups
from counteract.saga.skip import Skips
from counteract.saga.words import in_own_words

_OVER = ("turning back", "compensated", "never")


@dataclass(slots=True)
class Record:
    """The record as this run has been told of it. Where none is kept, the history is one of the release before."""

    dispatcher: Dispatcher
    chronicle: Chronicle
    ledger: Ledger
    parent: Parent | None = None
    state: str = "forward"
    skips: Skips = field(init=False)
    lookups: Lookups = field(init=False)
    foreign: dict[str, RecordedStep] = field(default_factory=dict)
    """Commands of earlier runs that this one's code has not come by, by their keys."""
    come_by: set[str] = field(default_factory=set)
    """The keys of those that it has come by since."""
    _seen: frozenset[str] = frozenset()
    """The steps that were on record when this run read it."""
    _is_behind: bool = False
    """The run that this one continues had been begun by a reset, and had not taken up the record."""
    _taken_up: bool = False
    _looks: Counter[str] = field(default_factory=Counter)
    """The number of looks, by the place where this run has asked whether to take the record up."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the record is taken up."""

    def __post_init__(self) -> None:
        self.skips = Skips(self.dispatcher)
        self.lookups = Lookups(self.dispatcher)

    @classmethod
    def after(
        cls, earlier: Earlier, dispatcher: Dispatcher, chronicle: Chronicle, ledger: Ledger, parent: Parent | None
    ) -> Record:
        """The record as the run before has left it, if this one continues one."""
        record = cls(dispatcher, chronicle, ledger, parent)
        if known := earlier.record:
            dispatcher.run_id, dispatcher.epoch, record.state = known.run_id, known.epoch, known.state
            record.foreign = {step.key: step for step in known.foreign}
            record._is_behind = known.is_behind
            record.skips.known = dict(known.given_up)
            record._seen = frozenset([*known.children, *record.foreign])
        return record

    def carried(self, steps: tuple[CarriedMore, ...]) -> CarriedRecord | None:
        """The record for the next run; None where none is kept."""
        if self.dispatcher.epoch is None:
            return None
        return CarriedRecord(
            run_id=self.dispatcher.run_id,
            epoch=self.dispatcher.epoch,
            state=self.state,
            steps=steps,
            foreign=tuple(self.foreign.values()),
            given_up=self.skips.known,
            is_behind=self._is_to_look and not self._taken_up,
            children=tuple(s.dispatch_key for s in self.ledger.steps if s.is_child and s.dispatch_key in self._seen),
        )

    @property
    def _is_to_look(self) -> bool:
        """Whether a reset began this run, or the one that it continues: it does not know what others did since."""
        info = workflow.info()
        return self._is_behind or info.run_id != info.original_execution_run_id

    @property
    def is_kept(self) -> bool:
        """Whether this run goes by a record; in a history of the release before there is none."""
        return self.dispatcher.epoch is not None

    @property
    def is_past_pivot(self) -> bool:
        """Whether some run has come to the saga's pivot, or past it: nothing is undone behind it."""
        return self.state in ("at the pivot", "past the pivot", "completed")

    async def open(self) -> None:
        """Take up the record with the saga's first event. Raises SagaTurnedBack where there is no way forward."""
        opened = await self.chronicle.open(self._opening())
        if opened is not None:
            await self._take(opened)

    async def carried_over(self) -> None:
        """Take up the record that the migration has made, in a run that continues one of the release before."""
        if workflow.patched("counteract: a record for a saga that was carried over"):
            await self._take_up("once carried over")

    async def refresh(self, where: str) -> bool:
        """Take up the record before the first step of a run that a reset began, or that continues one without steps.

        The kept history is held against it. False while it is the kept history that is replayed, and in one that was
        recorded without a record. `where` tells the places apart that may be the first. Raises SagaTurnedBack, and
        SagaReset where a step that it counts on is undone.
        """
        if not self._is_to_look:
            return self.is_kept
        # Steps that begin at once are sent in the order in which they came, whoever of them looks first.
        async with self._turn:
            if self._taken_up:
                self._raise_if_over()
                return self.is_kept
            return await self._look(where)

    async def _look(self, where: str) -> bool:
        has_looked = False
        # The kept history may hold the looks of runs that resets had begun before this one; and the SDK keeps the first
        # answer to a name.
        while not self._taken_up:
            self._looks[where] += 1
            name = f"{self._looks[where]} before {where}"
            if not workflow.patched(f"counteract: look {name}"):
                break
            has_looked = True
            await self._take_up(name)
        return has_looked

    async def rise(self, epoch: int | None, where: str) -> None:
        """Take up the record again, unless that was done since, to send anew what this run sent under `epoch`.

        It was refused as outdated. A reset sends again what was under way, under the epoch of the run before. And a run
        that is over may have left a look behind that came late: of all runs, the one whose code still runs is the last.
        """
        await self.refresh(where)
        if self.dispatcher.epoch == epoch:
            self._looks["again"] += 1
            await self._take_up(f"{where}, again {self._looks['again']}", again=self._looks["again"])

    async def risen(self, epoch: int | None, where: str) -> None:
        """Do as `rise`, for a saga that has only one way: back with an undo, forward with what must succeed."""
        with suppress(SagaTurnedBack, SagaReset):
            await self.rise(epoch, where)

    async def refreshed(self, where: str) -> bool:
        """Do as `refresh`, for a saga that turns back anyway."""
        try:
            return await self.refresh(where)
        except (SagaTurnedBack, SagaReset):
            return True

    async def take_over(self, epoch: int | None, state: str) -> None:
        """Make the saga that of a recovery: everything that was sent for it was another run's."""
        self.dispatcher.epoch, self.state = epoch, state
        self.foreign = await self._steps()

    async def look_up(self, steps: Sequence[Step]) -> list[str]:
        """Ask the store about steps whose answer did not come. Returns the keys of those that are not done."""
        if not steps:
            return []
        stored = await self._steps()
        for step in steps:
            if step.dispatch_key in stored and stored[step.dispatch_key].counts:
                step.outcome = Outcome.APPLIED
        return [step.key for step in steps if step.outcome is not Outcome.APPLIED]

    def own(self, steps: Sequence[Step]) -> None:
        """Count these steps as the code's own, whoever sent them first: it has come by them."""
        for step in steps:
            if (known := self.foreign.pop(step.dispatch_key, None)) is not None:
                self.come_by.add(step.dispatch_key)
                if known.may_have_applied and step.outcome is Outcome.NOT_APPLIED and not step.skipped:
                    # It was stopped before it came to its turn, in a run whose history begins in the midst of a group.
                    step.outcome = Outcome.UNKNOWN

    async def adopt(self, *, pivot: bool) -> list[Step]:
        """Take over what earlier runs left behind and may have an effect, to be undone; with `pivot`, pivots too.

        Returns their pivots: what became of them says whether the saga may be undone at all.
        """
        found = []
        for step in list(self.foreign.values()):
            command = await self._adoptable(step, pivot=pivot)
            # The code may have come by it meanwhile, or somebody else taken it over.
            if command is None or self.foreign.pop(step.key, None) is None:
                continue
            adopted = self.ledger.adopt(step.key, command)
            if adopted.kind is CommandKind.PIVOT:
                found.append(adopted)
        # The old branch can go once no saga is under way in which more than one was found on a release without it.
        if len(found) > 1 and not workflow.patched("counteract: each pivot of earlier runs is asked about"):
            return found[-1:]
        return found

    async def as_begun(self, step: Step) -> Command[Any]:
        """The child saga as it was first begun: what undoes it is its own, whatever the code says now.

        Raises UnreadableAnswer where it cannot be read.
        """
        key = step.dispatch_key
        if key not in self._seen or not workflow.patched(f"counteract: the child {key} as it was begun"):
            return step.command
        try:
            return await self.lookups.command(key, self.dispatcher.id_of(key), type(step.command))
        except (ActivityError, UnreadableCommand) as error:
            raise UnreadableAnswer(step.key, f"its record cannot be read: {in_own_words(error)}") from error

    async def correction(self, step: Step) -> tuple[int, Command[Any]] | None:
        """The number of tries, and the command, with which an earlier run has next sent the step; None without one."""
        sent = [each for each in self.foreign.values() if name_of(each.key) == step.key]
        if not sent or not workflow.patched(f"counteract: what was corrected of {step.dispatch_key}"):
            return None
        first = min(sent, key=lambda each: tries_of(each.key))
        return tries_of(first.key), await self.lookups.command(first.key, first.command_id, type(step.command))

    def concluded(self, *, given_up: bool) -> tuple[str, ...]:
        """The keys of the steps that are undone, or with `given_up` were given up; this run's own come first."""
        own = [
            step.key for step in self.ledger.steps if (step.given_up if given_up else step.undoing is Undoing.UNDONE)
        ]
        others = [
            step.key
            for step in self.foreign.values()
            if step.is_concluded and bool(step.given_up) is given_up and _kind_of(step) is CommandKind.COMPENSATABLE
        ]
        return tuple(dict.fromkeys([*own, *others]))

    def ending(self, state: Literal["completed", "compensated"], why: str | None) -> Ending | None:
        """The end of the saga as its record is asked to agree to it; None where no record is kept."""
        if self.dispatcher.epoch is None:
            return None
        return Ending(
            run_id=self.dispatcher.run_id,
            saga_type=self.dispatcher.saga_type,
            state=state,
            epoch=self.dispatcher.epoch,
            who=self.dispatcher.who,
            why=why,
            **self.counted(everything=state == "completed"),
        )

    def counted(self, *, everything: bool = True) -> dict[str, Any]:
        """Everything that this run counts on, for the store: what took effect and stands, and what a person gave up.

        Without `everything`, only the latter.
        """
        standing = [
            step
            for step in self.ledger.steps
            if everything and step.outcome is Outcome.APPLIED and not (step.concluded or step.skipped)
        ]
        own = [step for step in standing if not step.is_child]
        children = [step for step in standing if step.is_child]
        return {
            "done": self._ids(own),
            "keys": tuple(step.dispatch_key for step in own),
            "children": self._ids(children),
            "child_keys": tuple(step.dispatch_key for step in children),
            "child_ids": tuple(cast("ChildSaga", step.command).saga_id for step in children),
            "skipped": self._ids([step for step in self.ledger.steps if step.given_up]),
        }

    def _ids(self, steps: Sequence[Step]) -> tuple[UUID, ...]:
        return tuple(self.dispatcher.id_of(step.dispatch_key) for step in steps)

    async def look_again(self) -> None:
        """Read what the store has, of what the code has come by too, after it said otherwise than this run."""
        for step in self.ledger.steps:
            if step.outcome is Outcome.APPLIED and not step.concluded and step.kind is CommandKind.COMPENSATABLE:
                step.outcome = Outcome.UNKNOWN
        self.foreign = await self._steps()
        self.own(self.ledger.steps)

    def _opening(self, again: int = 0) -> Opening:
        info = workflow.info()
        return Opening(
            run_id=self.dispatcher.run_id,
            this_run=f"{info.run_id} {again}" if again else info.run_id,
            saga_type=self.dispatcher.saga_type,
            parent=self.parent,
        )

    async def _take_up(self, when: str, again: int = 0) -> None:
        await self._take(await self.lookups.take_up(self._opening(again), when))

    async def _take(self, opened: Opened) -> None:
        if opened.state == "reused":
            raise CommandIdReused("this step of the parent saga has been a child saga with another workflow id")
        is_ours = opened.this_run.partition(" ")[0] == workflow.info().run_id
        # A child that had begun before goes on under the ids that it had then.
        self.dispatcher.run_id, self.dispatcher.epoch, self.state = opened.run_id, opened.epoch, opened.state
        if opened.is_new:
            self._taken_up = is_ours
            return
        self.foreign = await self._steps()
        # Only now: whoever is stopped before has yet to read what others left behind.
        self._taken_up = is_ours
        self._hold_history_against_it()
        self.own(self.ledger.steps)
        self._raise_if_over()

    def _raise_if_over(self) -> None:
        if self.state in _OVER:
            raise SagaTurnedBack(f"the saga is {self.state}: start a new one instead")

    def _hold_history_against_it(self) -> None:
        gone = [
            step.key
            for step in self.ledger.steps
            if step.stands
            and not (step.is_child or step.disowned)
            # Of a step that the store does not know at all it knows less than the history: it is asked at the end.
            and (known := self.foreign.get(step.dispatch_key)) is not None
            and not known.counts
        ]
        if gone and self.state == "forward":
            self.own(self.ledger.steps)
            raise SagaReset(sorted(gone))

    async def _steps(self) -> dict[str, RecordedStep]:
        found = await self.lookups.steps()
        # The workflow id may have been used before.
        own = {step.key: step for step in found if step.command_id == self.dispatcher.id_of(step.key)}
        self.skips.learn(own)
        self._seen = frozenset(own)
        return own

    async def _adoptable(self, step: RecordedStep, *, pivot: bool) -> Command[Any] | None:
        try:
            kind = command_type(step.command_type, step.service)
        except ConfigurationError as unknown:
            raise UnreadableCommand(f"{step.key} cannot be undone: {unknown}") from None
        # One that is fenced may be about to be settled: nobody has said yet whether it happened.
        may_stand = step.status in ("started", "done") or step.may_have_applied
        is_pivot = kind.kind is CommandKind.PIVOT and pivot and may_stand
        if not is_pivot and (kind.kind is not CommandKind.COMPENSATABLE or not step.may_have_applied):
            return None
        return await self.lookups.command(step.key, step.command_id, kind)


def _kind_of(step: RecordedStep) -> CommandKind | None:
    try:
        return command_type(step.command_type, step.service).kind
    except ConfigurationError:
        return None

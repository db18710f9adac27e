"""The high water mark against a model of what PostgreSQL does with positions, locks and outcomes, in any order of steps."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from counteract.store.postgres.connect import Connection
from counteract.store.postgres.high_water_mark import Candidate, HighWaterMark, Holder

pytestmark = [pytest.mark.property, pytest.mark.long]

SESSIONS = range(1, 4)


@dataclass(eq=False)
class Transaction:
    """One that appends, or may."""

    holder: Holder
    holds_lock: bool = False
    is_fast: bool = False
    """The lock is with its backend, and not yet in the shared table."""
    owes: set[int] = field(default_factory=set)
    """Positions that it drew and that are neither committed nor dead."""


class Server:
    """What others can come between is a step of its own: taking the lock, drawing, the outcome, letting the lock go."""

    def __init__(self) -> None:
        self.last_value = 0
        self.running: dict[int, Transaction] = {}
        self.prepared: list[Transaction] = []
        self.committed: set[int] = set()
        self._begun = 0

    @property
    def open(self) -> Sequence[Transaction]:
        return [*self.running.values(), *self.prepared]

    @property
    def owed(self) -> set[int]:
        return {position for each in self.open for position in each.owes}

    def begin(self, pid: int) -> Transaction:
        self._begun += 1
        return self.running.setdefault(pid, Transaction(Holder(pid, f"{pid}/{self._begun}")))

    def draw(self, transaction: Transaction) -> None:
        self.last_value += 1
        transaction.owes.add(self.last_value)

    def prepare(self, pid: int) -> None:
        """First the lock goes to the table, then from the session to nobody."""
        transaction = self.running[pid]
        if transaction.is_fast:
            transaction.is_fast = False
        else:
            transaction.holder = Holder(None, transaction.holder.transaction)
            self.prepared.append(self.running.pop(pid))

    def settle(self, transaction: Transaction, *, commits: bool) -> None:
        if commits:
            self.committed |= transaction.owes
        transaction.owes = set()

    def let_go(self, transaction: Transaction) -> None:
        self.running = {pid: each for pid, each in self.running.items() if each is not transaction}
        self.prepared = [each for each in self.prepared if each is not transaction]

    def locks_of(self, pid: int) -> set[Holder]:
        each = self.running.get(pid)
        return {each.holder} if each and each.holds_lock and each.is_fast else set()

    def lock_table(self) -> set[Holder]:
        return {each.holder for each in self.open if each.holds_lock and not each.is_fast}


@types.coroutine
def others_go_on() -> Generator[None]:
    yield


class Session:
    """The reader's connection. Between any two things that a statement looks at, others go on."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._answer: Sequence[tuple[Any, ...]] = []

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[None]:
        yield

    async def execute(self, query: str) -> Session:
        answer = Session(self.server)
        await others_go_on()
        answer._answer = await self._locks() if "pg_locks" in query else [(self.server.last_value, False)]
        return answer

    async def _locks(self) -> Sequence[Holder]:
        """As pg_locks does it: backend by backend, and the shared table afterwards."""
        found: set[Holder] = set()
        for pid in SESSIONS:
            found |= self.server.locks_of(pid)
            await others_go_on()
        return list(found | self.server.lock_table())

    async def fetchone(self) -> tuple[Any, ...]:
        return self._answer[0]

    async def fetchall(self) -> Sequence[tuple[Any, ...]]:
        return self._answer


class Mark(Protocol):
    position: int

    def advance(self) -> Coroutine[Any, Any, int]: ...


LOOK = 3 + len(SESSIONS)
"""How many steps a look takes: others go on before each statement, and after each session's locks."""


class MarkAndServer(RuleBasedStateMachine):
    """A reader that goes by its mark, and writers that do whatever they may at any moment."""

    mark_of: ClassVar[Callable[[Connection], Mark]] = HighWaterMark

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.mark = type(self).mark_of(cast("Connection", Session(self.server)))
        self.look: Coroutine[Any, Any, int] | None = None
        self.checkpoint = 0
        self.seen: list[int] = []

    @rule(pid=st.sampled_from(SESSIONS), is_fast=st.booleans(), positions=st.integers(0, 2))
    def insert(self, pid: int, is_fast: bool, positions: int) -> None:
        """The lock comes before the first position; with none drawn yet, others go on in between."""
        transaction = self.server.running.get(pid) or self.server.begin(pid)
        if not transaction.holds_lock:
            transaction.holds_lock, transaction.is_fast = True, is_fast
        for _ in range(positions):
            self.server.draw(transaction)

    @rule(pid=st.sampled_from(SESSIONS), at_once=st.booleans())
    def prepare(self, pid: int, at_once: bool) -> None:
        for _ in range(2 if at_once else 1):
            if pid in self.server.running:
                self.server.prepare(pid)

    @rule(pid=st.sampled_from(SESSIONS))
    def roll_back_to_a_savepoint(self, pid: int) -> None:
        """One that was set before the first append: what was drawn is dead, and the lock is gone with it."""
        if transaction := self.server.running.get(pid):
            self.server.settle(transaction, commits=False)
            transaction.holds_lock = False

    @rule(number=st.integers(0, 5), commits=st.booleans())
    def end(self, number: int, commits: bool) -> None:
        """First the outcome is there for all to see, then the lock is gone."""
        if number >= len(self.server.open):
            return
        transaction = self.server.open[number]
        if transaction.owes:
            self.server.settle(transaction, commits=commits)
        else:
            self.server.let_go(transaction)

    @rule(steps=st.integers(1, LOOK))
    def look_on(self, steps: int) -> None:
        for _ in range(steps):
            self.look = self.look or self.mark.advance()
            try:
                self.look.send(None)
            except StopIteration:
                self.look = None

    @rule()
    def read(self) -> None:
        new = {each for each in self.server.committed if self.checkpoint < each <= self.mark.position}
        self.seen += sorted(new)
        self.checkpoint = max(self.checkpoint, self.mark.position)

    @invariant()
    def no_position_up_to_the_mark_is_open(self) -> None:
        assert not [each for each in self.server.owed if each <= self.mark.position]
        assert self.mark.position <= self.server.last_value

    def teardown(self) -> None:
        """Once nobody writes any more, everything is seen, once and in order."""
        for transaction in self.server.open:
            self.server.settle(transaction, commits=True)
            self.server.let_go(transaction)
        self.look_on(steps=3 * LOOK)
        self.read()
        assert self.seen == sorted(self.server.committed)
        if self.look is not None:
            self.look.close()


def playing(mark: Callable[[Connection], Mark]) -> type[MarkAndServer]:
    class Playing(MarkAndServer):
        mark_of = mark

    return Playing


TestMarkAndServer = MarkAndServer.TestCase
TestMarkAndServer.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)


class HighestSeen:
    """The naive one: whatever is there is read, and the next read goes on after the last position."""

    def __init__(self, connection: Connection) -> None:
        self._server = cast("Session", connection).server
        self.position = 0

    async def advance(self) -> int:
        self.position = max(self._server.committed, default=0)
        return self.position


class LastDrawn(HighWaterMark):
    """Goes by the sequence alone."""

    async def advance(self) -> int:
        self.position, _ = await self._look()
        return self.position


class LocksFirst(HighWaterMark):
    """Whoever takes the lock after it was looked at may draw before the sequence is read."""

    async def _look(self) -> tuple[int, set[Holder]]:
        _, holders = await super()._look()
        position, _ = await super()._look()
        return position, holders


def with_candidates(seen_again: Callable[[Candidate, AbstractSet[Holder]], Candidate]) -> type[HighWaterMark]:
    class Other(HighWaterMark):
        async def _look(self) -> tuple[int, set[Holder]]:
            position, holders = await super()._look()
            self._candidate = seen_again(self._candidate, holders)
            return position, holders

    return Other


WRONG: dict[str, Callable[[Connection], Mark]] = {
    "goes by the highest position seen": HighestSeen,
    "goes by the last position drawn": LastDrawn,
    "reads the locks first": LocksFirst,
    "takes prepared transactions for new ones": with_candidates(
        lambda candidate, holders: replace(
            candidate, prepared_before=frozenset(each for each in holders if each.pid is None)
        )
    ),
}
LastLookAlone = with_candidates(lambda candidate, _: replace(candidate, prepared_before=candidate.prepared))


@pytest.mark.parametrize("wrong", WRONG)
def test_the_model_finds_out_a_mark_that(wrong: str) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            playing(WRONG[wrong]),
            settings=settings(
                max_examples=2000,
                stateful_step_count=50,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
            ),
        )


@pytest.mark.parametrize(("mark_of", "passes"), [(HighWaterMark, False), (LastLookAlone, True)])
def test_a_transaction_that_one_look_shows_twice_is_passed_by_a_mark_that_knows_of_the_last_look_alone(
    mark_of: type[HighWaterMark], passes: bool
) -> None:
    """Chance takes long to come upon this one, so it is played out."""
    machine = playing(mark_of)()
    machine.insert(1, is_fast=True, positions=1)
    machine.look_on(LOOK)
    machine.look_on(3)
    machine.prepare(1, at_once=True)
    machine.look_on(LOOK - 3)
    machine.look_on(LOOK)
    assert (machine.mark.position in machine.server.owed) is passes

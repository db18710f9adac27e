"""The proof behind the high water mark, without a database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counteract.errors import StoreError
from counteract.store.postgres.connect import Connection
from counteract.store.postgres.high_water_mark import Candidate, HighWaterMark, Holder

pytestmark = pytest.mark.unit

ANN, BOB = Holder(1, "3/17"), Holder(2, "4/5")
PREPARED, OTHER = Holder(None, "-1/700"), Holder(None, "-1/701")


def pending(first: set[Holder], *later: set[Holder]) -> frozenset[Holder]:
    candidate = Candidate.of(10, first)
    for holders in later:
        candidate = candidate.seen_again(holders)
    return candidate.pending


def test_nothing_is_pending_where_nobody_writes() -> None:
    assert pending(set()) == set()


def test_a_writer_is_pending_until_it_is_gone() -> None:
    assert pending({ANN, BOB}, {ANN, BOB}, {BOB}) == {BOB}
    assert pending({ANN, BOB}, {BOB}, set()) == set()


def test_a_writer_that_came_later_owes_nothing() -> None:
    assert pending({ANN}, {ANN, BOB}, {BOB}) == set()


def test_the_next_transaction_of_the_same_session_owes_nothing() -> None:
    assert pending({ANN}, {Holder(ANN.pid, "3/18")}) == set()


def test_a_transaction_that_is_prepared_stays_pending_under_its_new_name() -> None:
    assert pending({ANN}, {PREPARED}) == {PREPARED}
    assert pending({ANN}, {PREPARED}, set()) == set()


def test_a_prepared_transaction_is_taken_for_the_continuation_of_one_that_vanished() -> None:
    assert pending({ANN, BOB}, {BOB, PREPARED}) == {BOB, PREPARED}


def test_a_transaction_seen_twice_while_it_was_being_prepared_stays_pending() -> None:
    """One look at pg_locks may show it with its session and as prepared: the parts of that view are read one by one."""
    assert pending({ANN}, {ANN, PREPARED}, {PREPARED}) == {PREPARED}
    assert pending({ANN}, {ANN, PREPARED}, {PREPARED}, set()) == set()


def test_one_that_was_prepared_while_nobody_vanished_continues_nobody() -> None:
    assert pending({ANN}, {ANN, PREPARED}, {ANN, PREPARED}, {PREPARED}) == set()


def test_the_end_of_a_prepared_transaction_makes_no_other_pending() -> None:
    assert pending({PREPARED}, {OTHER}) == set()


HOLDERS = st.sets(
    st.one_of(st.builds(Holder, st.integers(1, 4), st.just("1/1")), st.builds(Holder, st.none(), st.text()))
)


@given(
    first=HOLDERS, later=st.lists(st.sets(st.builds(Holder, st.none(), st.text()), min_size=1), min_size=2, max_size=8)
)
def test_prepared_transactions_that_never_stop_coming_do_not_hold_it_up(
    first: set[Holder], later: list[set[Holder]]
) -> None:
    """Once the sessions are gone, what is pending only shrinks."""
    candidate = Candidate.of(1, first)
    sizes = []
    for holders in later:
        candidate = candidate.seen_again(holders)
        sizes.append(candidate.pending)
    assert all(after <= before for before, after in pairwise(sizes))


class Answer:
    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    async def fetchone(self) -> tuple[Any, ...]:
        return self._rows[0]

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


class Database:
    """A writer draws a position after each statement that somebody else executes, and never commits."""

    def __init__(self) -> None:
        self.writers: list[Holder] = []
        self.is_standby = False

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[None]:
        yield

    async def execute(self, query: str) -> Answer:
        answer = Answer(list(self.writers) if "pg_locks" in query else [(len(self.writers), self.is_standby)])
        self.writers.append(Holder(len(self.writers), "1/1"))
        return answer


async def test_a_writer_between_the_two_statements_is_not_overlooked() -> None:
    mark = HighWaterMark(cast("Connection", Database()))
    assert [await mark.advance() for _ in range(3)] == [0, 0, 0]


async def test_a_standby_cannot_say() -> None:
    standby = Database()
    standby.is_standby = True
    with pytest.raises(StoreError, match="standby"):
        await HighWaterMark(cast("Connection", standby)).advance()

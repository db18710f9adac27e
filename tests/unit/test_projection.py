"""Projections without a database: what handlers say, and what many operations come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Integer, Text, delete, func, text, update

from counteract import Event, Recorded
from counteract.errors import ConfigurationError, UnknownEventType
from counteract.messages import StreamId
from counteract.projections import Delete, Increment, Operation, Patch, Projection, ProjectionRunner, Put
from counteract.projections.coalescing import Adjusted, Removed, Replaced, coalesced
from counteract.store import StoredEvent
from tests.coalescing import coalesce
from tests.counters import Counted, CounterReset, Renamed
from tests.unit.operations import BLANK, OPERATIONS, VALUES, Row, one_by_one, together

pytestmark = pytest.mark.unit


def projection() -> Projection:
    return Projection(
        "per-counter",
        Column("counter", Text, primary_key=True),
        Column("name", Text),
        Column("count", BigInteger, nullable=False, default=0),
    )


def recorded(event: Event) -> Recorded[Any]:
    return Recorded.of(event, StreamId("counter", "a"))


def stored(event_type: str, schema_version: int = 1, data: str = "{}") -> StoredEvent:
    return StoredEvent.of(
        position=1,
        event_id=UUID(int=1),
        stream=StreamId("counter", "a"),
        version=1,
        event_type=event_type,
        schema_version=schema_version,
        data=data,
        metadata={},
        recorded_at=datetime.now(UTC),
    )


def test_a_handler_may_return_one_operation_or_many_or_none() -> None:
    per_counter = projection()

    @per_counter.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Iterator[Operation]:
        for _ in range(recorded.event.amount):
            yield Increment(recorded.stream.aggregate_id, "count")

    @per_counter.on(CounterReset)
    def reset(recorded: Recorded[CounterReset]) -> Put:
        return Put(recorded.stream.aggregate_id, {})

    assert per_counter.operations(recorded(Counted(amount=2))) == [Increment("a", "count")] * 2
    assert per_counter.operations(recorded(Counted(amount=0))) == []
    assert per_counter.operations(recorded(CounterReset())) == [Put("a", {})]


def test_a_handler_stays_the_function_that_it_was() -> None:
    per_counter = projection()

    @per_counter.on(CounterReset)
    def reset(recorded: Recorded[CounterReset]) -> Delete:
        return Delete(recorded.stream.aggregate_id)

    assert reset(recorded(CounterReset())) == Delete("a")


def test_events_without_a_handler_do_nothing() -> None:
    assert projection().operations(recorded(Counted())) == []


def test_an_undeclared_version_of_a_handled_event_is_not_passed_over() -> None:
    per_counter = projection()
    per_counter.on(Counted)(lambda recorded: [])
    with pytest.raises(UnknownEventType, match="Counted v2"):
        list(per_counter.operations_of([stored("Counted", 2)]))


def test_two_handlers_of_one_event_are_refused() -> None:
    per_counter = projection()
    per_counter.on(Counted)(lambda recorded: [])
    with pytest.raises(ConfigurationError, match="Counted has two handlers"):
        per_counter.on(Counted)(lambda recorded: [])


def test_every_fault_of_a_declaration_is_listed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Projection(
            "bad",
            Column("id", Integer),
            Column("at", Text, server_default=func.now()),
            Column("by", Text, default=lambda: "x"),
        )
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (Put("a", {"nmae": "x"}), "'nmae', which is no column"),
        (Patch("a", {"counter": "x"}), "'counter', which is part of the key"),
        (Increment("a", "total"), "'total', which is no column"),
        (Delete(("a", "b")), "needs a key of counter"),
    ],
)
def test_an_operation_that_does_not_fit_the_table_is_refused(operation: Operation, why: str) -> None:
    per_counter = projection()
    per_counter.on(Counted)(lambda recorded: operation)
    with pytest.raises(ConfigurationError, match=why):
        per_counter.operations(recorded(Counted()))


@pytest.mark.parametrize("key", ["a", ("a", 1)])
def test_with_several_shards_the_rows_are_those_of_the_streams_own_id(key: object) -> None:
    days = [Column("day", Integer, primary_key=True)] if isinstance(key, tuple) else []
    sharded = Projection("sharded", Column("counter", Text, primary_key=True), *days, shards=2)
    sharded.on(Counted)(lambda recorded: Delete(key))
    assert sharded.operations(recorded(Counted())) == [Delete(key)]


def test_with_several_shards_the_rows_of_others_are_refused() -> None:
    sharded = Projection("sharded", Column("counter", Text, primary_key=True), shards=2)
    sharded.on(Counted)(lambda recorded: Delete("b"))
    with pytest.raises(ConfigurationError, match="row that may be another shard's: with 2 it must be 'a'"):
        sharded.operations(recorded(Counted()))


def test_with_several_shards_statements_are_refused() -> None:
    sharded = Projection("sharded", Column("counter", Text, primary_key=True), shards=2)
    sharded.on(Counted)(lambda recorded: delete(sharded.table))
    with pytest.raises(ConfigurationError, match="a statement may reach the rows of other shards: there are 2"):
        sharded.operations(recorded(Counted()))


@pytest.mark.parametrize(("inline", "shards", "why"), [(True, 2, "leave shards= out"), (False, 0, "one or more")])
def test_a_number_of_shards_that_cannot_be_is_refused(inline: bool, shards: int, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Projection("sharded", Column("counter", Text, primary_key=True), inline=inline, shards=shards)


@given(
    before=st.none() | st.fixed_dictionaries({name: VALUES | st.none() for name in BLANK}),
    operations=st.lists(OPERATIONS),
)
def test_operations_come_to_the_same_together_as_one_by_one(before: Row | None, operations: list[Operation]) -> None:
    expected = before
    for operation in operations:
        expected = one_by_one(expected, operation)
    change = coalesce(operations, BLANK).get("a", Adjusted())
    assert together(before, change) == expected


def test_keys_are_kept_apart() -> None:
    operations: Sequence[Operation] = [Put("a", {"count": 1}), Delete("b"), Increment("a", "count")]
    assert coalesce(operations, BLANK) == {"a": Replaced({**BLANK, "count": 2}), "b": Removed()}


def test_an_event_that_was_forgotten_is_an_error_that_names_it() -> None:
    per_counter = projection()
    per_counter.on(Counted)(lambda recorded: Increment(recorded.stream.aggregate_id, "count"))

    with pytest.raises(ConfigurationError, match="CounterReset has no handler"):
        per_counter.check()
    with pytest.raises(ConfigurationError, match="CounterReset has no handler"):
        ProjectionRunner("postgresql://nowhere", [per_counter])

    per_counter.ignores(CounterReset)
    per_counter.check()


def test_an_event_of_no_decider_asks_for_no_other() -> None:
    per_counter = projection()
    per_counter.on(Renamed)(lambda recorded: Delete(recorded.stream.aggregate_id))

    per_counter.check()


def test_an_event_cannot_be_both_handled_and_ignored() -> None:
    handled, ignored = projection(), projection()
    handled.on(Counted)(lambda recorded: Delete("a"))
    ignored.ignores(Counted)

    with pytest.raises(ConfigurationError, match="Counted has a handler"):
        handled.ignores(Counted)
    with pytest.raises(ConfigurationError, match="Counted is declared ignored"):
        ignored.on(Counted)(lambda recorded: Delete("a"))


def test_operations_are_coalesced_between_statements_only() -> None:
    table = projection().table
    first, second = update(table).values(count=1), delete(table)
    a, b, c = Increment("a", "count"), Increment("b", "count"), Increment("c", "count")

    added = {key: Adjusted(creates=True, added={"count": 1}) for key in "abc"}

    together = [{"a": added["a"], "b": added["b"]}, first, second, {"c": added["c"]}]
    assert list(coalesced([a, b, first, second, c], BLANK)) == together
    assert list(coalesced([], BLANK)) == []


@pytest.mark.parametrize(
    ("effect", "problem"),
    [
        (update(projection().table), "per_counter, which is not its table"),
        (text("truncate counters"), "is no operation"),
    ],
)
def test_a_statement_must_change_the_projections_own_table(effect: Any, problem: str) -> None:
    per_counter = projection()
    per_counter.on(Counted)(lambda recorded: [effect])

    with pytest.raises(ConfigurationError, match=problem):
        per_counter.operations(recorded(Counted()))

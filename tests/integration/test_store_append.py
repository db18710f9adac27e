"""Appends on a real PostgreSQL: all or nothing, one writer of a stream at a time, twice is once."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest

from counteract.errors import (
    AppendTooLarge,
    EventIdReused,
    InvalidEvent,
    StoreError,
    StoreUnavailable,
    WrongExpectedVersion,
)
from counteract.store import ANY, NO_STREAM, STREAM_EXISTS, Appended, ExactVersion, Expect, PostgresEventStore
from counteract.store.wire import APPEND_ONE, APPEND_PLACEHOLDERS, StreamChange, append_arguments
from tests.counters import Counted, Renamed, counter, counters

pytestmark = pytest.mark.integration

A, B = counter("a"), counter("b")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(database_url) as store:
        yield store


async def test_what_was_appended_is_loaded(store: PostgresEventStore) -> None:
    appended = await store.append(A, [Counted(amount=2), Counted(amount=3)], expect=NO_STREAM)
    assert appended == Appended(version=2, position=2)
    loaded = await store.load(counters, "a")
    assert (loaded.state, loaded.version, loaded.stream) == (5, 2, A)


async def test_a_stream_without_events_loads_as_the_initial_state(store: PostgresEventStore) -> None:
    loaded = await store.load(counters, "nobody")
    assert (loaded.state, loaded.version) == (0, 0)


@pytest.mark.parametrize(
    ("existing", "expect", "goes_through"),
    [
        (0, NO_STREAM, True),
        (1, NO_STREAM, False),
        (0, STREAM_EXISTS, False),
        (1, STREAM_EXISTS, True),
        (0, ANY, True),
        (2, ANY, True),
        (2, ExactVersion(2), True),
        (2, ExactVersion(1), False),
        (2, ExactVersion(3), False),
        (2, Expect(1, 2), True),
        (3, Expect(1, 2), False),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
async def test_an_append_goes_through_where_its_expectation_holds(
    store: PostgresEventStore, existing: int, expect: Expect, goes_through: bool, count: int
) -> None:
    await store.append(A, [Counted()] * existing, expect=ANY)
    if goes_through:
        appended = await store.append(A, [Counted()] * count, expect=expect)
        assert appended == Appended(existing + count, existing + count)
        return
    with pytest.raises(WrongExpectedVersion) as caught:
        await store.append(A, [Counted()] * count, expect=expect)
    assert (caught.value.stream, caught.value.expected, caught.value.actual) == (A, str(expect), existing)


async def test_a_refused_append_draws_no_position(store: PostgresEventStore) -> None:
    with pytest.raises(WrongExpectedVersion):
        await store.append(A, [Counted()], expect=STREAM_EXISTS)
    assert (await store.append(A, [Counted()], expect=NO_STREAM)).position == 1


async def test_many_streams_are_appended_to_or_none(store: PostgresEventStore) -> None:
    await store.append(B, [Counted()], expect=NO_STREAM)
    with pytest.raises(WrongExpectedVersion, match="counter/b is at version 1, expected no stream"):
        await store.append_many([StreamChange(A, 0, 0, [Counted()]), StreamChange(B, 0, 0, [Counted()])])
    assert (await store.load(counters, "a")).version == 0


async def test_each_stream_gets_its_answer_and_events_keep_their_order(store: PostgresEventStore) -> None:
    await store.append(B, [Counted()], expect=NO_STREAM)
    changes = [
        StreamChange(B, 1, 1, [Counted(amount=1), Counted(amount=2)]),
        StreamChange(counter("c"), 0, 0),
        StreamChange(A, 0, 0, [Counted(amount=3)]),
    ]
    assert await store.append_many(changes) == [Appended(3, 3), Appended(0, 0), Appended(1, 4)]
    assert [(each.stream, each.version) for each in await store.read(after=1)] == [(B, 2), (B, 3), (A, 1)]


async def test_an_append_without_events_only_checks(store: PostgresEventStore) -> None:
    assert await store.append(A, [], expect=NO_STREAM) == Appended(0, 0)
    with pytest.raises(WrongExpectedVersion):
        await store.append(A, [], expect=STREAM_EXISTS)


@pytest.mark.parametrize("expect", [NO_STREAM, ANY])
@pytest.mark.parametrize("count", [1, 2])
async def test_the_same_ids_again_return_what_the_first_append_did(
    store: PostgresEventStore, expect: Expect, count: int
) -> None:
    ids = [uuid4() for _ in range(count)]
    first = await store.append(A, [Counted()] * count, expect=expect, event_ids=ids)
    await store.append(A, [Counted()], expect=ANY)
    again = await store.append(A, [Counted()] * count, expect=expect, event_ids=ids)
    assert again == first
    assert (await store.load(counters, "a")).version == count + 1


async def test_a_repeat_over_many_streams_answers_for_those_that_were_only_checked_too(
    store: PostgresEventStore,
) -> None:
    changes = [StreamChange(A, 0, 0, [Counted()]), StreamChange(B, 0, 0)]
    ids = [uuid4()]
    first = await store.append_many(changes, event_ids=ids)
    assert await store.append_many(changes, event_ids=ids) == first == [Appended(1, 1), Appended(0, 0)]


async def test_an_id_with_other_content_is_refused(store: PostgresEventStore) -> None:
    ids = [uuid4()]
    await store.append(A, [Counted()], expect=ANY, event_ids=ids)
    for stream, event in [(A, Counted(amount=2)), (A, Renamed(name="x")), (B, Counted())]:
        with pytest.raises(EventIdReused, match=str(ids[0])):
            await store.append(stream, [event], expect=ANY, event_ids=ids)


@pytest.mark.parametrize("others", [[], [StreamChange(B, 0, 0)]])
async def test_some_old_ids_among_new_ones_are_refused(store: PostgresEventStore, others: list[StreamChange]) -> None:
    ids = [uuid4(), uuid4()]
    await store.append(A, [Counted()], expect=ANY, event_ids=ids[:1])
    with pytest.raises(EventIdReused, match=str(ids[1])):
        await store.append_many([StreamChange(A, 1, 1, [Counted(), Counted()]), *others], event_ids=ids)
    assert (await store.load(counters, "a")).version == 1


async def test_text_that_an_array_would_be_written_with_is_stored_as_it_is(store: PostgresEventStore) -> None:
    stream, note = counter('{"\\",NULL}'), '"quoted\\" {braces}, \\, \t, NULL\n'
    await store.append(stream, [Counted(note=note), Counted(note="null")], expect=NO_STREAM, metadata={note: note})
    first, second = await store.read_stream(stream)
    assert json.loads(first.data)["note"] == note
    assert (json.loads(second.data)["note"], second.metadata) == ("null", {note: note})


async def test_one_id_twice_in_a_call_is_refused(store: PostgresEventStore) -> None:
    with pytest.raises(EventIdReused):
        await store.append(A, [Counted(), Counted()], expect=ANY, event_ids=[uuid4()] * 2)


async def test_the_same_append_at_the_same_time_is_one_append(store: PostgresEventStore) -> None:
    ids = [uuid4()]
    answers = await asyncio.gather(*(store.append(A, [Counted()], expect=NO_STREAM, event_ids=ids) for _ in range(8)))
    assert set(answers) == {Appended(1, 1)}


async def test_more_streams_than_the_lock_table_bears_are_refused(store: PostgresEventStore) -> None:
    changes = [StreamChange(counter(str(number)), 0, 0, [Counted()]) for number in range(257)]
    with pytest.raises(AppendTooLarge, match="at most 256 streams"):
        await store.append_many(changes)
    assert len(await store.append_many(changes[:256])) == 256


async def test_an_event_over_the_limit_is_refused(database_url: str) -> None:
    async with PostgresEventStore.open(database_url, max_event_bytes=100) as store:
        with pytest.raises(InvalidEvent, match="more than 100"):
            await store.append(A, [Counted(note="x" * 100)], expect=ANY)


async def test_a_number_beyond_jsonb_and_a_nul_in_an_id_are_refused(store: PostgresEventStore) -> None:
    with pytest.raises(InvalidEvent):
        await store.append(A, [Counted(amount=10**200_000)], expect=ANY)
    with pytest.raises(InvalidEvent):
        await store.append(counter("\x00"), [Counted()], expect=ANY)


async def test_of_writers_with_one_expectation_one_wins_and_no_other_error_is_seen(store: PostgresEventStore) -> None:
    async def write() -> bool:
        try:
            await store.append(A, [Counted()], expect=NO_STREAM)
        except WrongExpectedVersion:
            return False
        return True

    assert sum(await asyncio.gather(*(write() for _ in range(20)))) == 1


@pytest.mark.parametrize("count", [1, 2])
async def test_a_waiting_writer_sees_what_the_one_before_it_committed(store: PostgresEventStore, count: int) -> None:
    """The check must look after it has waited, not before."""
    async with store.connection() as first, first.transaction():
        await first.execute(*append_call(StreamChange(A, 0, 0, [Counted()])))
        second = asyncio.create_task(store.append(A, [Counted()] * count, expect=ANY))
        await somebody_waits(store, "advisory")
    assert (await second).version == 1 + count


async def test_a_decision_that_only_read_a_stream_holds_off_its_writers(store: PostgresEventStore) -> None:
    async with store.connection() as first, first.transaction():
        await first.execute(*append_call(StreamChange(A, 0, 0), StreamChange(B, 0, 0, [Counted()])))
        # Another reader of A does not wait.
        await store.append_many([StreamChange(A, 0, 0), StreamChange(counter("c"), 0, 0, [Counted()])])
        writer = asyncio.create_task(store.append(A, [Counted()], expect=NO_STREAM))
        await somebody_waits(store, "advisory")
    assert (await writer).version == 1


async def test_two_decisions_that_read_what_the_other_writes_cannot_both_be_made(store: PostgresEventStore) -> None:
    async def decide(reads: str, writes: str) -> bool:
        try:
            await store.append_many(
                [StreamChange(counter(reads), 0, 0), StreamChange(counter(writes), 0, 0, [Counted()])]
            )
        except WrongExpectedVersion:
            return False
        return True

    for pair in range(20):
        left, right = f"left-{pair}", f"right-{pair}"
        assert sum(await asyncio.gather(decide(left, right), decide(right, left))) == 1


async def test_calls_over_the_same_streams_in_any_order_never_deadlock(store: PostgresEventStore) -> None:
    names = [f"shared-{number}" for number in range(6)]
    chance = random.Random(7)

    async def write() -> None:
        for _ in range(15):
            chosen = chance.sample(names, 4)
            changes = [StreamChange(counter(name), 0, 2**31 - 1, [Counted()] * chance.randint(0, 2)) for name in chosen]
            await store.append_many(changes)

    await asyncio.gather(*(write() for _ in range(10)))
    for name in names:
        events = await store.read_stream(counter(name))
        assert [each.version for each in events] == list(range(1, len(events) + 1))


async def test_plans_made_while_the_table_was_empty_stay_on_the_index(store: PostgresEventStore) -> None:
    """Sessions keep their plans. One that scans a small table would go on scanning it when it has grown."""
    async with store.connection() as connection, connection.transaction():
        await connection.execute("set local plan_cache_mode = force_generic_plan")
        await connection.execute(*append_call(StreamChange(A, 0, 0, [Counted()]), StreamChange(B, 0, 0)))
        await connection.execute(*append_call(StreamChange(A, 1, 1, [Counted(), Counted()])))
        await connection.execute(*append_call(StreamChange(A, 3, 3, [Counted()])))
        scans = await connection.execute("select seq_scan from pg_stat_xact_user_tables where relname = 'events'")
        assert await scans.fetchone() == (0,)


@pytest.mark.parametrize("count", [1, 2])
async def test_an_old_snapshot_is_refused(store: PostgresEventStore, count: int) -> None:
    async def append() -> None:
        async with store.connection() as connection, connection.transaction():
            await connection.execute("set transaction isolation level repeatable read")
            await connection.execute(*append_call(StreamChange(A, 0, 0, [Counted()] * count)))

    with pytest.raises(StoreError, match="needs READ COMMITTED, not REPEATABLE READ"):
        await append()


@pytest.mark.parametrize(
    "statement",
    [
        "update events set version = 2",
        "update events set version = 2 where false",
        "delete from events",
        "truncate events",
        "merge into events e using events o on e.position = o.position when matched then delete",
    ],
)
async def test_stored_events_cannot_be_changed(store: PostgresEventStore, statement: str) -> None:
    await store.append(A, [Counted()], expect=ANY)
    with pytest.raises(StoreError, match="events are append-only"):
        async with store.connection() as connection:
            await connection.execute(statement)
    assert (await store.load(counters, "a")).version == 1


async def test_a_deadlock_of_ones_own_making_asks_for_a_retry(store: PostgresEventStore) -> None:
    async def both(first: str, second: str, met: asyncio.Barrier) -> None:
        async with store.connection() as connection, connection.transaction():
            await connection.execute(*append_call(StreamChange(counter(first), 0, 9, [Counted()])))
            await met.wait()
            await connection.execute(*append_call(StreamChange(counter(second), 0, 9, [Counted()])))

    met = asyncio.Barrier(2)
    outcomes = await asyncio.gather(both("x", "y", met), both("y", "x", met), return_exceptions=True)
    assert [type(each) for each in outcomes if each] == [StoreUnavailable]


def append_call(*changes: StreamChange) -> tuple[str, tuple[str, ...]]:
    arguments = append_arguments(changes, {})
    if one := arguments.of_one_event:
        return f"select {APPEND_ONE}", one
    return f"select append_events({APPEND_PLACEHOLDERS})", arguments.literals


async def somebody_waits(store: PostgresEventStore, kind: str) -> None:
    """Returns once a session waits for a lock of this kind."""
    query = "select from pg_locks where locktype = %s and not granted"
    async with asyncio.timeout(10), store.connection() as connection:
        while (await connection.execute(query, (kind,))).rowcount == 0:  # noqa: ASYNC110 - it happens in the database
            await asyncio.sleep(0.005)


def test_psycopg_reports_the_states_that_the_functions_raise() -> None:
    """The translation goes by SQLSTATE: class CA must not be one of the driver's own."""
    with pytest.raises(KeyError):
        psycopg.errors.lookup("CA001")

"""Loads go on from the newest state that is known, and show the same as a replay from the start."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from counteract import Decider, Event
from counteract.errors import NoSuchVersion, UnknownEventType, WrongExpectedVersion
from counteract.store import ANY, AtPosition, AtVersion, PostgresEventStore, decide
from counteract.store.postgres.connect import Connection, connect
from tests.counters import Counted, CounterReset, Renamed, counter, counters

pytestmark = pytest.mark.integration

A = counter("a")


class Folded:
    """A decider that counts how many events it folds."""

    def __init__(self, initial: Any = 0) -> None:
        self.events = 0
        self.decider: Decider[Any, Counted | CounterReset] = Decider(
            "counter", initial=initial, evolve=self.evolve, events=Counted | CounterReset, version="counting"
        )

    def evolve(self, total: int, event: Counted | CounterReset) -> int:
        self.events += 1
        return total + 1


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(url, pool_size=2, **options) as store:
        yield store


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    async with opened(app_url, snapshot_every=0) as store:
        yield store


async def add(store: PostgresEventStore, count: int) -> int:
    return (await store.append(A, [Counted()] * count, expect=ANY)).position


def snapshots(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select aggregate_id, version, state from snapshots").fetchall()


# In memory


async def test_a_state_in_memory_is_continued_and_not_folded_again(store: PostgresEventStore) -> None:
    folded = Folded()
    await add(store, 5)
    await store.load(folded.decider, "a")
    await add(store, 2)
    assert (await store.load(folded.decider, "a")).state == 7
    assert folded.events == 7


async def test_the_states_used_longest_ago_leave_memory(app_url: str) -> None:
    folded = Folded()
    async with opened(app_url, cached_states=2, snapshot_every=0) as store:
        for name in ("a", "b", "c"):
            await store.append(counter(name), [Counted()], expect=ANY)
        for name in ("a", "b", "a", "c", "a", "b"):
            assert (await store.load(folded.decider, name)).version == 1
    assert folded.events == 4


async def test_a_load_that_was_overtaken_does_not_replace_a_newer_state(store: PostgresEventStore) -> None:
    folded = Folded()
    await add(store, 1)
    async with store.connection() as connection:
        slow = store.begin_load(folded.decider, "a")
        rows = await (await connection.execute(slow.query, slow.parameters)).fetchall()
        await add(store, 1)
        assert (await store.load(folded.decider, "a")).version == 2
        assert (await slow.finish(connection, rows)).version == 1
    folded.events = 0
    assert (await store.load(folded.decider, "a")).version == 2
    assert folded.events == 0


# Snapshots


async def test_a_long_stream_goes_on_from_its_snapshot_in_another_process(app_url: str) -> None:
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 25)
        await store.load(counters, "a")
        await add(store, 3)
    assert snapshots(app_url) == [("a", 25, "25")]
    async with opened(app_url, snapshot_every=10) as other:
        fold = other.begin_load(counters, "a")
        async with other.connection() as connection:
            rows = await (await connection.execute(fold.query, fold.parameters)).fetchall()
            assert [row[0] for row in rows if row[3] is not None] == [25, 26, 27, 28]
            assert (await fold.finish(connection, rows)).state == 28


async def test_a_process_that_always_continues_from_memory_still_takes_snapshots(app_url: str) -> None:
    async with opened(app_url, snapshot_every=10) as store:
        for _ in range(25):
            await add(store, 1)
            await store.load(counters, "a")
    assert snapshots(app_url) == [("a", 20, "20")]


async def test_short_streams_have_none(app_url: str) -> None:
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 9)
        await store.load(counters, "a")
    assert snapshots(app_url) == []


async def test_a_snapshot_of_other_code_is_no_snapshot(app_url: str) -> None:
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 20)
        await store.load(counters, "a")
    # The same streams under other code: another initial state is as good as another evolve.
    changed = Folded(initial=100)
    async with opened(app_url, snapshot_every=10) as store:
        assert (await store.load(changed.decider, "a")).state == 120
    assert changed.events == 20
    assert snapshots(app_url) == [("a", 20, "120")]


async def test_where_the_code_cannot_be_told_there_is_no_snapshot_but_the_advice_to_give_a_version(
    app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Folded()
    untold: Decider[Any, Counted | CounterReset] = Decider(
        "counter", initial=0, evolve=told.evolve, events=Counted | CounterReset
    )
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 20)
        assert (await store.load(untold, "a")).state == 20
    assert snapshots(app_url) == []
    assert "it holds Folded, whose value cannot be told; give the decider a version=" in caplog.text


async def test_an_older_snapshot_of_the_same_code_never_replaces_a_newer_one(app_url: str) -> None:
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 10)
        async with store.connection() as connection:
            slow = store.begin_load(counters, "a")
            rows = await (await connection.execute(slow.query, slow.parameters)).fetchall()
            await add(store, 10)
            await store.load(counters, "a")
            await slow.finish(connection, rows)
    assert snapshots(app_url) == [("a", 20, "20")]


async def test_a_snapshot_that_cannot_be_read_is_left_aside(app_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 20)
        await store.load(counters, "a")
    with psycopg.connect(app_url) as connection:
        connection.execute("update snapshots set state = 'nonsense'")
    async with opened(app_url, snapshot_every=10) as store:
        assert (await store.load(counters, "a")).state == 20
    assert "a snapshot of 'counter' cannot be read" in caplog.text


@dataclass(frozen=True)
class Opaque:
    """Equal only to itself, as it comes back from nowhere."""

    number: int

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return self.number


async def test_a_state_that_does_not_come_back_as_it_is_is_never_kept(
    app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def evolve(state: Opaque, _: Counted) -> Opaque:
        return Opaque(state.number + 1)

    decider = Decider("counter", initial=Opaque(0), evolve=evolve, events=Counted)
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 20)
        assert (await store.load(decider, "a")).state.number == 20
    assert snapshots(app_url) == []
    assert "does not come back from JSON as it is" in caplog.text


async def test_a_snapshot_that_cannot_be_kept_does_not_fail_the_load(
    database_url: str, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("revoke insert on snapshots from counteract_app")
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 20)
        assert (await store.load(counters, "a")).state == 20
    assert "could not be kept" in caplog.text


# Earlier states


async def test_a_stream_is_seen_as_it_was_at_a_version(app_url: str) -> None:
    async with opened(app_url, snapshot_every=10) as store:
        await add(store, 30)
        await store.load(counters, "a")
        states = [(await store.load(counters, "a", at=AtVersion(version))).state for version in (0, 1, 9, 10, 11, 30)]
    assert states == [0, 1, 9, 10, 11, 30]


async def test_a_version_that_was_never_reached_is_an_error(store: PostgresEventStore) -> None:
    await add(store, 3)
    with pytest.raises(NoSuchVersion, match="counter/a is at version 3, and was never at 4"):
        await store.load(counters, "a", at=AtVersion(4))


async def test_streams_are_seen_together_as_they_were_at_a_position(store: PostgresEventStore) -> None:
    await add(store, 2)
    await store.append(counter("b"), [Counted(), Counted()], expect=ANY)
    await add(store, 2)

    async def seen(position: int) -> Sequence[int]:
        return [(await store.load(counters, name, at=AtPosition(position))).version for name in ("a", "b")]

    assert [await seen(position) for position in (0, 1, 2, 3, 4, 5, 99)] == [
        [0, 0],
        [1, 0],
        [2, 0],
        [2, 1],
        [2, 2],
        [3, 2],
        [4, 2],
    ]


async def test_a_stream_is_seen_as_it_was_at_a_time(store: PostgresEventStore) -> None:
    start = datetime.now(UTC)
    for _ in range(3):
        await asyncio.sleep(0.002)
        await add(store, 1)
    times = [each.recorded_at for each in await store.read_stream(A)]
    states = [
        (await store.load(counters, "a", at=time)).state for time in (start, *times, times[1] - timedelta(0, 0.001))
    ]
    assert states == [0, 1, 2, 3, 1]


async def test_every_time_gives_the_position_of_the_last_event_recorded_by_then(
    store: PostgresEventStore, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for position in range(1, 41):
            if position % 3 == 0 or position in (1, 20):
                # As a transaction does that draws one and never commits.
                connection.execute("select nextval('events_position_seq')")
            else:
                await add(store, 1)
    recorded = [(each.recorded_at, each.position) for each in await store.read_stream(A)]
    found = [await store.position_at(time) for time, _ in recorded]
    following = [position for _, position in recorded[1:]] + [41]
    assert all(position <= at < later for (_, position), at, later in zip(recorded, found, following, strict=True))
    assert await store.position_at(recorded[0][0] - timedelta(1)) < recorded[0][1]


async def test_a_time_without_a_zone_is_refused(store: PostgresEventStore) -> None:
    with pytest.raises(ValueError, match="needs its zone"):
        await store.load(counters, "a", at=datetime.now())  # noqa: DTZ005 - the mistake


async def test_a_time_waits_for_what_may_still_come_in_before_it(
    store: PostgresEventStore, session: Connection
) -> None:
    async with session.transaction():
        await session.execute(
            "insert into events (event_id, aggregate_type, aggregate_id, version, event_type, "
            "schema_version, event_data, metadata) values (gen_random_uuid(), 'counter', 'a', 1, "
            "'Counted', 1, '{}', '{}')"
        )
        loading = asyncio.create_task(store.load(counters, "a", at=datetime.now(UTC)))
        await asyncio.sleep(0.1)
        assert not loading.done()
    assert (await loading).version == 1


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Connection]:
    async with await connect(database_url) as connection:
        yield connection


# Long streams, and events that cannot be read


@pytest.mark.long
async def test_a_hundred_thousand_events_are_folded_in_bounded_memory(
    store: PostgresEventStore, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("""
            insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)
            select gen_random_uuid(), 'counter', 'a', n, 'Counted', 1, '{"note": "a note that takes some room"}', '{}'
            from generate_series(1, 100000) as n
        """)
    tracemalloc.start()
    try:
        loaded = await store.load(counters, "a")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (loaded.state, loaded.version) == (100_000, 100_000)
    assert peak < 5_000_000


async def test_an_event_that_cannot_be_read_is_named_with_its_place(store: PostgresEventStore) -> None:
    await add(store, 2)
    await store.append(A, [Renamed(name="b")], expect=ANY)
    with pytest.raises(UnknownEventType, match=r"Renamed v1 \(in counter/a, version 3\)"):
        await store.load(counters, "a")


# Deciding


def count_to(limit: int) -> Any:
    def decision(total: int) -> Sequence[Event]:
        return [Counted()] if total < limit else []

    return decision


async def test_decisions_of_many_writers_are_each_made_on_the_state_that_they_change(
    event_store: PostgresEventStore,
) -> None:
    results = await asyncio.gather(*(decide(event_store, counters, "a", count_to(5), attempts=50) for _ in range(10)))
    assert (await event_store.load(counters, "a")).state == 5
    assert sorted(result.version for result in results if result.position) == [1, 2, 3, 4, 5]
    assert all((result.state, result.version) == (5, 5) for result in results if not result.position)


async def test_a_decision_gives_up_after_its_attempts(store: PostgresEventStore, app_url: str) -> None:
    made = 0

    def decision(total: int) -> Sequence[Counted]:
        nonlocal made
        made += 1
        overtake(app_url)
        return [Counted()]

    with pytest.raises(WrongExpectedVersion):
        await decide(store, counters, "a", decision, attempts=3)
    assert made == 3
    assert (await store.load(counters, "a")).version == 3


def overtake(url: str) -> None:
    """Another writer's append, done when this returns."""

    async def append() -> None:
        async with opened(url) as other:
            await add(other, 1)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, append()).result()

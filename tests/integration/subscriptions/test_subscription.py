"""Subscriptions on a real PostgreSQL: every event, in order, once for what goes through the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from time import monotonic

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from counteract.dev.postgres import EmbeddedPostgres
from counteract.errors import ConfigurationError, ProjectionBehind
from counteract.store import ANY, PostgresEventStore, StoredEvent
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_PLACEHOLDERS, append_arguments
from counteract.store.postgres.connect import async_engine
from counteract.store.postgres.high_water_mark import HighWaterMark
from counteract.store.postgres.notifier import Notifier
from counteract.subscriptions import Polling, Subscriber, Subscription, position_of, reached, reading_ahead
from counteract.subscriptions.lease import start_over
from tests.counters import Counted, CounterReset, counter

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0

_APPEND = f"select append_events({APPEND_PLACEHOLDERS})"


class Notebook(Subscriber):
    """Writes down each position that it is given; the table would keep it twice."""

    name = "notebook"

    def __init__(self, *, failures: int = 0, pause: float = 0.0, only: str | None = None) -> None:
        self.event_types = frozenset([only]) if only else None
        self.failures = failures
        self.pause = pause
        self.calls = 0
        self.spans: list[tuple[float, float]] = []
        """From when to when each call took."""

    async def prepare(self, connection: AsyncConnection) -> None:
        await connection.execute(text("select pg_advisory_xact_lock(1)"))
        await connection.execute(text("create table if not exists notebook (line serial, position bigint)"))

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        self.calls += 1
        began = monotonic()
        try:
            await self._write_down(events, connection)
        finally:
            self.spans.append((began, monotonic()))

    async def _write_down(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        await connection.execute(
            text("insert into notebook (position) values (:position)"), [{"position": each.position} for each in events]
        )
        await asyncio.sleep(self.pause)
        if self.calls <= self.failures:
            raise RuntimeError("not today")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(database_url) as store:
        yield store


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = async_engine(database_url)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def running(*subscriptions: Subscription) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = [asyncio.create_task(each.run()) for each in subscriptions]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def write(store: PostgresEventStore, events: int, stream: str = "a") -> int:
    """The last position."""
    for _ in range(events - 1):
        await store.append(counter(stream), [Counted()], expect=ANY)
    return (await store.append(counter(stream), [Counted()], expect=ANY)).position


async def lines(store: PostgresEventStore) -> list[int]:
    async with store.connection() as connection:
        rows = await connection.execute("select position from notebook order by line")
        return [position for (position,) in await rows.fetchall()]


async def test_events_from_before_and_after_the_start_are_delivered_in_order(
    store: PostgresEventStore, database_url: str
) -> None:
    await write(store, 5)
    async with running(Subscription(database_url, Notebook(), batch_size=2)):
        last = await write(store, 5)
        await reached(store, "notebook", last, timeout=PATIENCE)
    assert await lines(store) == list(range(1, 11))


async def test_it_goes_on_where_it_left_off(store: PostgresEventStore, database_url: str) -> None:
    for _ in range(2):
        last = await write(store, 3)
        async with running(Subscription(database_url, Notebook())):
            await reached(store, "notebook", last, timeout=PATIENCE)
    assert await lines(store) == list(range(1, 7))


async def test_types_that_it_does_not_want_are_passed_over(store: PostgresEventStore, database_url: str) -> None:
    await store.append(counter("a"), [Counted(), CounterReset(), Counted()], expect=ANY)
    async with running(Subscription(database_url, Notebook(only="CounterReset"))):
        await reached(store, "notebook", 3, timeout=PATIENCE)
    assert await lines(store) == [2]


async def test_a_batch_that_fails_is_rolled_back_and_delivered_again(
    store: PostgresEventStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    last = await write(store, 3)
    notebook = Notebook(failures=3)
    async with running(Subscription(database_url, notebook)):
        await reached(store, "notebook", last, timeout=PATIENCE)
    assert notebook.calls == 4
    assert await lines(store) == [1, 2, 3]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == ["subscription 'notebook' failed and tries again"]


async def test_a_declaration_that_is_wrong_ends_it(database_url: str) -> None:
    class Wrong(Notebook):
        async def prepare(self, connection: AsyncConnection) -> None:
            raise ConfigurationError("this subscriber", ["is declared wrongly"])

    with pytest.raises(ConfigurationError, match="declared wrongly"):
        await asyncio.wait_for(Subscription(database_url, Wrong()).run(), PATIENCE)


async def test_two_processes_on_one_subscription_apply_nothing_twice(
    store: PostgresEventStore, database_url: str
) -> None:
    both = [Notebook(pause=0.01), Notebook(pause=0.01)]
    async with running(*(Subscription(database_url, each, batch_size=3) for each in both)):
        last = await write(store, 60)
        await reached(store, "notebook", last, timeout=PATIENCE)
    assert await lines(store) == list(range(1, 61))


async def test_while_one_process_applies_a_batch_the_other_does_not_even_begin(
    store: PostgresEventStore, database_url: str
) -> None:
    last = await write(store, 3)
    both = [Notebook(pause=0.2), Notebook(pause=0.2)]
    async with running(*(Subscription(database_url, each) for each in both)):
        await reached(store, "notebook", last, timeout=PATIENCE)
    # One may hand over to the other, which then begins anew.
    spans = sorted(span for each in both for span in each.spans)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))
    assert await lines(store) == [1, 2, 3]


async def test_a_notification_ends_the_wait(store: PostgresEventStore, database_url: str) -> None:
    asleep = Polling(longest=600)
    async with running(Subscription(database_url, Notebook(), polling=asleep)):
        await reached(store, "notebook", await write(store, 1), timeout=PATIENCE)
        for _ in range(5):
            await reached(store, "notebook", await write(store, 1), timeout=PATIENCE)


async def test_without_notifications_it_polls(
    store: PostgresEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notifier, "notify", lambda _: None)
    async with running(Subscription(database_url, Notebook())):
        for _ in range(3):
            await reached(store, "notebook", await write(store, 1), timeout=PATIENCE)


async def test_it_outlives_a_restart_of_the_server_and_says_so_once(
    store: PostgresEventStore, database_url: str, postgres: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Subscription(database_url, Notebook())):
        await reached(store, "notebook", await write(store, 3), timeout=PATIENCE)
        await postgres.stop()
        async with asyncio.timeout(PATIENCE):
            await waits_for_the_database(caplog)
        await postgres.start()
        async with PostgresEventStore.open(database_url) as again:
            await reached(again, "notebook", await write(again, 3), timeout=PATIENCE)
            written = await lines(again)
    assert written == sorted(set(written))
    assert len(written) == 6
    warnings = [record for record in caplog.records if record.name == "counteract.subscriptions"]
    assert [record.levelno for record in warnings if record.levelno >= logging.WARNING] == [logging.WARNING]


async def waits_for_the_database(caplog: pytest.LogCaptureFixture) -> None:
    while "subscription 'notebook' waits" not in caplog.text:  # noqa: ASYNC110 - it happens in another task's log
        await asyncio.sleep(0.005)


async def test_a_checkpoint_that_was_moved_elsewhere_is_read_again(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    async with running(Subscription(database_url, Notebook())):
        last = await write(store, 3)
        await reached(store, "notebook", last, timeout=PATIENCE)
        async with engine.begin() as connection:
            await start_over(connection, "notebook")
        last = await write(store, 1)
        await reached(store, "notebook", last, timeout=PATIENCE)
    assert await lines(store) == [1, 2, 3, 1, 2, 3, 4]


async def test_a_process_whose_checkpoint_is_gone_says_so_once(
    store: PostgresEventStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Subscription(database_url, Notebook(), lease=0.6)):
        await reached(store, "notebook", await write(store, 3), timeout=PATIENCE)
        async with store.connection() as connection:
            await connection.execute("delete from subscriptions where name = 'notebook'")
        async with asyncio.timeout(PATIENCE):
            while "subscription 'notebook' is not there any more" not in caplog.text:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
    assert caplog.text.count("is not there any more") == 1


async def test_one_that_does_not_begin_delivers_nothing_before_somebody_else_has(
    store: PostgresEventStore, database_url: str
) -> None:
    last = await write(store, 3)
    async with running(Subscription(database_url, Notebook(), lease=0.6, begins=False)):
        await asyncio.sleep(0.5)
        assert await lines(store) == []
        async with store.connection() as connection:
            await connection.execute("insert into subscriptions (name) values ('notebook')")
        await reached(store, "notebook", last, timeout=PATIENCE)
    assert await lines(store) == [1, 2, 3]


class Slow(Notebook):
    """Takes its time for the first batch, and begins it with `begun`."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        await super().handle(events, connection)
        if self.calls == 1:
            self.begun.set()
            await asyncio.sleep(1)


async def test_the_next_events_are_read_while_others_are_handled(store: PostgresEventStore, database_url: str) -> None:
    last = await write(store, 6)
    slow = Slow()
    async with running(Subscription(database_url, slow, batch_size=2)):
        await slow.begun.wait()
        await asyncio.sleep(0.5)
        async with store.connection() as nobody_reads, nobody_reads.transaction():
            await nobody_reads.execute("lock table events in access exclusive mode")
            await reached(store, "notebook", 4, timeout=PATIENCE)
        await reached(store, "notebook", last, timeout=PATIENCE)
    assert await lines(store) == [1, 2, 3, 4, 5, 6]


async def test_what_was_read_ahead_is_void_once_it_has_started_over(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    last = await write(store, 6)
    slow = Slow()
    async with running(Subscription(database_url, slow, batch_size=2)):
        await slow.begun.wait()
        async with engine.begin() as connection:
            await start_over(connection, "notebook")
        await reached(store, "notebook", last, timeout=PATIENCE)
    seen = await lines(store)
    # Whether a batch more was first is the server's choice.
    assert seen[-6:] == [1, 2, 3, 4, 5, 6]
    assert seen[:-6] == [1, 2, 3, 4, 5, 6][: len(seen) - 6]
    assert len(seen) > 6


async def test_a_log_that_has_no_statistics_yet_is_gone_over_once(store: PostgresEventStore, database_url: str) -> None:
    last = (await store.append(counter("a"), [Counted()] * 5000, expect=ANY)).position
    async with running(Subscription(database_url, Notebook(only="Counted"), batch_size=100)):
        await reached(store, "notebook", last, timeout=PATIENCE)
    # Sorting what is left of it for each page would come to 125,000.
    assert 5000 <= await _rows_read(store, at_least=5000) <= 10_000


async def _rows_read(store: PostgresEventStore, *, at_least: int) -> int:
    """How many events were read from the table: the sessions of a server report what they did up to a second later."""
    read = "select idx_tup_read + seq_tup_read from pg_stat_user_indexes join pg_stat_user_tables using (relid) where indexrelname = 'events_pkey'"
    seen = [-1, 0]
    async with asyncio.timeout(PATIENCE), store.connection() as connection:
        while seen[-1] < at_least or seen[-1] != seen[-2]:
            await asyncio.sleep(1.5)
            ((rows,),) = await (await connection.execute(read)).fetchall()
            seen.append(rows)
    return seen[-1]


async def test_the_mark_is_not_moved_on_beside_what_else_goes_over_the_connection(
    store: PostgresEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a pipeline, and the keys of personal data are asked for while the next page is read ahead."""
    seen: set[str] = set()
    advance = HighWaterMark.advance

    async def watched(mark: HighWaterMark) -> int:
        task = asyncio.current_task()
        seen.add(str(task and task.get_coro()))
        return await advance(mark)

    monkeypatch.setattr(reading_ahead, "_LOOK_AGAIN", -1.0)
    monkeypatch.setattr(HighWaterMark, "advance", watched)
    last = await write(store, 60)
    async with running(Subscription(database_url, Notebook(), batch_size=5)):
        await reached(store, "notebook", last, timeout=PATIENCE)

    assert seen
    assert not any("ReadingAhead" in each for each in seen), seen


class Laborious(Notebook):
    """Takes its time for each event."""

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        await super().handle(events, connection)
        await connection.execute(text("select pg_sleep(:seconds)"), {"seconds": 0.02 * len(events)})


async def test_batches_become_as_small_as_can_be_handled_in_time(store: PostgresEventStore, database_url: str) -> None:
    last = await write(store, 100)
    # The database ends a transaction after three leases: all hundred would take 2 seconds, and 50 of them more than 0.9.
    async with running(Subscription(database_url, Laborious(), lease=0.3)):
        await reached(store, "notebook", last, timeout=PATIENCE)
    assert await lines(store) == list(range(1, 101))


async def test_one_that_is_behind_says_how_far_it_came(store: PostgresEventStore) -> None:
    with pytest.raises(ProjectionBehind, match="'nobody' is at position 0, not yet at 7"):
        await reached(store, "nobody", 7, timeout=0.01)
    assert await position_of(store, "nobody") == 0


async def test_nothing_is_lost_among_writers_that_dawdle_and_roll_back(
    store: PostgresEventStore, database_url: str
) -> None:
    async def dawdle(number: int) -> None:
        change = StreamChange(counter(str(number)), 0, 2**31 - 1, [Counted()])
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            for attempt in range(20):
                await connection.execute(_APPEND, append_arguments([change], {}))
                await asyncio.sleep(0.003 * ((number + attempt) % 5))
                await (connection.rollback() if attempt % 4 == 3 else connection.commit())

    async with running(Subscription(database_url, Notebook(), batch_size=7)):
        await asyncio.gather(*(dawdle(number) for number in range(10)))
        await reached(store, "notebook", await store.high_water_mark(), timeout=PATIENCE)
    assert await lines(store) == [each.position for each in await store.read()]
    assert len(await lines(store)) == 150

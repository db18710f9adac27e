"""What cannot be handled is set aside with all that comes later in its stream; nothing else waits, nothing is skipped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from counteract.messages import StreamId
from counteract.store import PostgresEventStore, StoredEvent
from counteract.store.postgres.connect import async_engine
from counteract.store.postgres.error_texts import objection
from counteract.subscriptions import Subscription, reached
from counteract.subscriptions.lease import start_over
from counteract.subscriptions.parked import (
    NothingParked,
    ParkedStream,
    discard,
    parked_events,
    parked_streams,
    redrive,
)
from tests.integration.subscriptions.fussy_subscriber import (
    BAD,
    GOOD,
    PATIENCE,
    RAISED,
    Fussy,
    going_on,
    noted,
    running,
    write,
)

pytestmark = [pytest.mark.integration, pytest.mark.readside]


async def parked(store: PostgresEventStore) -> Sequence[ParkedStream]:
    async with store.connection() as connection:
        return await parked_streams(connection)


async def try_again(store: PostgresEventStore, stream: StreamId | None = None) -> None:
    """Returns once it was tried."""
    async with store.connection() as connection:
        await redrive(connection, "fussy", stream)
    async with asyncio.timeout(PATIENCE):
        while any(each.is_redriven for each in await parked(store)):  # noqa: ASYNC110 - it happens in the database
            await asyncio.sleep(0.02)


async def test_what_fails_is_parked_with_the_rest_of_its_stream_and_other_streams_go_on(
    store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await write(store, GOOD, BAD, BAD, GOOD, BAD)
    async with running(app_url, Fussy(3)):
        await reached(store, "fussy", await write(store, GOOD), timeout=PATIENCE)
        await reached(store, "fussy", await write(store, GOOD, BAD, GOOD), timeout=PATIENCE)
    assert await noted(store) == [1, 2, 4, 6, 7, 9]
    (stream,) = await parked(store)
    assert (stream.stream, stream.position, stream.events, stream.error) == (BAD, 3, 3, f"ValueError: {RAISED}")
    async with store.connection() as connection:
        events = await parked_events(connection, "fussy", BAD)
    assert [(each.position, each.version, each.error) for each in events] == [
        (3, 2, f"ValueError: {RAISED}"),
        (5, 3, None),
        (8, 4, None),
    ]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors[-1].startswith("subscription 'fussy' cannot handle position 3: counter/bad is parked")


async def test_redriven_after_a_fix_it_is_handled_in_order_and_followed_by_what_comes_then(
    store: PostgresEventStore, app_url: str
) -> None:
    fussy = Fussy(2)
    async with running(app_url, fussy):
        await reached(store, "fussy", await write(store, BAD, BAD, GOOD, BAD), timeout=PATIENCE)
        fussy.chokes_on.clear()
        await try_again(store)
        assert await parked(store) == []
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
    assert await noted(store, BAD) == [1, 2, 4, 5]


async def test_it_is_redriven_also_while_there_is_always_something_new(store: PostgresEventStore, app_url: str) -> None:
    async def keep_writing() -> None:
        while True:
            await write(store, GOOD)

    fussy = Fussy(1)
    async with running(app_url, fussy):
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
        fussy.chokes_on.clear()
        writing = asyncio.create_task(keep_writing())
        try:
            await try_again(store)
        finally:
            writing.cancel()
            await asyncio.wait([writing])
        assert await parked(store) == []


async def test_redriven_without_a_fix_it_stops_at_the_first_that_fails(store: PostgresEventStore, app_url: str) -> None:
    fussy = Fussy(2)
    async with running(app_url, fussy):
        await reached(store, "fussy", await write(store, BAD, BAD, BAD, BAD), timeout=PATIENCE)
        fussy.chokes_on, fussy.error = {3}, TypeError("still too much")
        await try_again(store)
    (stream,) = await parked(store)
    assert (stream.position, stream.events, stream.error) == (3, 2, f"TypeError: {RAISED}")
    assert await noted(store, BAD) == [1, 2]


async def test_one_stream_is_redriven_and_the_others_stay(store: PostgresEventStore, app_url: str) -> None:
    fussy = Fussy(1, 2)
    async with running(app_url, fussy):
        await reached(store, "fussy", await write(store, BAD, GOOD), timeout=PATIENCE)
        fussy.chokes_on.clear()
        await try_again(store, GOOD)
        assert [each.stream for each in await parked(store)] == [BAD]
        assert await noted(store) == [2]


async def test_what_is_discarded_is_never_handled_and_stays_on_record(store: PostgresEventStore, app_url: str) -> None:
    async with running(app_url, Fussy(2)):
        await reached(store, "fussy", await write(store, BAD, BAD, BAD), timeout=PATIENCE)
        async with store.connection() as connection:
            await discard(connection, "fussy", 2, why="a test of ours")
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
        assert await noted(store, BAD) == [1]
        await try_again(store)
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
    assert await noted(store, BAD) == [1, 3, 4, 5]
    async with store.connection() as connection:
        (event,) = await parked_events(connection, "fussy", BAD)
    assert (event.position, event.discarded_why) == (2, "a test of ours")


async def test_what_is_discarded_is_not_handled_by_a_subscription_that_starts_over(
    store: PostgresEventStore, app_url: str
) -> None:
    async with running(app_url, Fussy(2)):
        await reached(store, "fussy", await write(store, BAD, BAD, BAD, GOOD), timeout=PATIENCE)
        async with store.connection() as connection:
            await discard(connection, "fussy", 2, why="a test of ours")
        await try_again(store)
    async with async_engine(app_url, poolclass=NullPool).begin() as transaction:
        await transaction.execute(text("delete from notes"))
        await start_over(transaction, "fussy")
    async with running(app_url, Fussy(2)):
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
    assert await noted(store) == [1, 3, 4, 5]
    assert await parked(store) == []
    async with store.connection() as connection:
        (event,) = await parked_events(connection, "fussy", BAD)
    assert (event.position, event.discarded_why) == (2, "a test of ours")


async def test_a_shard_that_comes_back_to_a_process_is_not_redriven_for_that(
    store: PostgresEventStore, app_url: str
) -> None:
    fussy = Fussy(2)
    subscription = Subscription(app_url, fussy, lease=0.6, attempts=2)
    async with going_on(subscription):
        await reached(store, "fussy", await write(store, BAD, BAD), timeout=PATIENCE)
    fussy.chokes_on.clear()
    async with going_on(subscription):
        await reached(store, "fussy", await write(store, GOOD), timeout=PATIENCE)
        await asyncio.sleep(0.5)
    assert await noted(store, BAD) == [1]
    # Another process may have other code.
    async with running(app_url, fussy), asyncio.timeout(PATIENCE):
        while await parked(store):  # noqa: ASYNC110 - it happens in the subscription
            await asyncio.sleep(0.02)
    assert await noted(store, BAD) == [1, 2]


async def test_where_nothing_is_parked_there_is_nothing_to_do(store: PostgresEventStore) -> None:
    async with store.connection() as connection:
        with pytest.raises(NothingParked, match="'fussy' has nothing parked of counter/bad"):
            await redrive(connection, "fussy", BAD)
        with pytest.raises(NothingParked, match="'fussy' has nothing parked at position 7"):
            await discard(connection, "fussy", 7, why="why not")


async def test_an_outage_parks_nothing_however_long_it_lasts(store: PostgresEventStore, app_url: str) -> None:
    fussy = Fussy(2)
    fussy.error = ConnectionRefusedError("the other side is down")
    async with running(app_url, fussy, attempts=1):
        last = await write(store, BAD, BAD, GOOD)
        async with asyncio.timeout(PATIENCE):
            while fussy.calls < 4:  # noqa: ASYNC110 - it happens in the subscription
                await asyncio.sleep(0.02)
        assert await parked(store) == []
        fussy.chokes_on.clear()
        await reached(store, "fussy", last, timeout=PATIENCE)
    assert await noted(store) == [1, 2, 3]


async def test_another_process_with_other_shards_keeps_the_stream_parked(
    store: PostgresEventStore, app_url: str
) -> None:
    async with running(app_url, Fussy(1)):
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
    fussy = Fussy(1)
    async with running(app_url, fussy, shards=3):
        await reached(store, "fussy", await write(store, BAD, GOOD), timeout=PATIENCE)
        assert await noted(store) == [3]
        fussy.chokes_on.clear()
        await try_again(store)
        assert await noted(store) == [3, 1, 2]


async def test_what_a_handler_raises_is_not_quoted_and_its_place_is_named(
    store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    fussy = Fussy(1)
    fussy.error = ValueError("cannot place ann@example.com")
    async with running(app_url, fussy):
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
    (stream,) = await parked(store)
    assert stream.error is not None
    assert stream.error.startswith("ValueError: raised in fussy_subscriber.py, line ")
    assert "ann@example.com" not in stream.error + caplog.text


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("select 'ann@example.com'::int", "InvalidTextRepresentation: SQLSTATE 22P02"),
        (
            "insert into notes (line, stream) values (null, 'ann@example.com')",
            'NotNullViolation: null value in column "line"',
        ),
    ],
)
async def test_a_value_that_the_database_refuses_is_not_quoted(
    store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture, statement: str, error: str
) -> None:
    class Refused(Fussy):
        async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
            await connection.execute(text(statement))

    async with running(app_url, Refused()):
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
    (stream,) = await parked(store)
    assert (stream.error or "").startswith(error)
    assert "ann@example.com" not in (stream.error or "") + caplog.text


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("do $$ begin raise exception 'ann@example.com'; end $$", "SQLSTATE P0001"),
        ("selec 'ann@example.com'", "SQLSTATE 42601"),
        ("select ann_at_example", 'column "ann_at_example" does not exist'),
    ],
)
def test_what_the_database_says_is_told_if_it_can_only_be_a_name(app_url: str, statement: str, told: str) -> None:
    with psycopg.connect(app_url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode())
    assert objection(caught.value) == told


async def test_a_row_that_the_database_refuses_is_not_quoted(store: PostgresEventStore, app_url: str) -> None:
    class Refused(Fussy):
        async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
            await super().handle(events, connection)
            await connection.execute(
                text("insert into notes (position, note) values (:position, 'ann@example.com')"),
                [{"position": event.position} for event in events],
            )

    async with running(app_url, Refused()):
        await reached(store, "fussy", await write(store, BAD), timeout=PATIENCE)
    (stream,) = await parked(store)
    assert stream.error == 'UniqueViolation: duplicate key value violates unique constraint "notes_position_key"'
    assert await noted(store) == []

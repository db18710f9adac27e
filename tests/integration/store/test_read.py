"""Reading, and what becomes of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.conninfo import conninfo_to_dict

from counteract import Event
from counteract.dev.fixtures import execute
from counteract.dev.postgres import EmbeddedPostgres
from counteract.errors import ConfigurationError, StoreUnavailable, UnknownEventType
from counteract.store import ANY, EventDecoder, PostgresEventStore
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_PLACEHOLDERS, append_arguments
from tests.counters import Counted, Renamed, counter

pytestmark = pytest.mark.integration

A, B = counter("a"), counter("b")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(database_url) as store:
        yield store


async def test_an_event_comes_back_as_it_went_in(store: PostgresEventStore) -> None:
    metadata = {"correlation_id": "c", "step": "Reserve", "nested": {"any": [1, None]}}
    before = datetime.now(UTC)
    await store.append(A, [Counted(amount=3, note="ünï\u2028\\u0000")], expect=ANY, metadata=metadata)
    stored = (await store.read())[0]
    recorded = EventDecoder([Counted]).decode(stored)
    assert recorded.event == Counted(amount=3, note="ünï\u2028\\u0000")
    assert (recorded.stream, recorded.version, recorded.position) == (A, 1, 1)
    assert recorded.metadata == metadata
    assert recorded.event_id.version == 7
    assert recorded.recorded_at.utcoffset() == timedelta(0)
    assert before - timedelta(seconds=1) < recorded.recorded_at < datetime.now(UTC) + timedelta(seconds=1)


async def test_times_are_utc_whatever_the_database_is_set_to(postgres: EmbeddedPostgres, database_url: str) -> None:
    name = conninfo_to_dict(database_url)["dbname"]
    await execute(postgres, f"alter database {name} set timezone = 'Asia/Tokyo'")
    async with PostgresEventStore.open(database_url) as store:
        await store.append(A, [Counted()], expect=ANY)
        assert (await store.read())[0].recorded_at.utcoffset() == timedelta(0)


async def test_a_read_waits_for_appends_that_are_under_way(store: PostgresEventStore) -> None:
    async with store.connection() as slow:
        async with slow.transaction():
            await slow.execute(
                f"select append_events({APPEND_PLACEHOLDERS})",
                append_arguments([StreamChange(A, 0, 0, [Counted()])], {}),
            )
            await store.append(B, [Counted()], expect=ANY)
            reading = asyncio.create_task(store.read())
            done, _ = await asyncio.wait({reading}, timeout=0.1)
            assert not done
        assert [each.stream for each in await reading] == [A, B]


async def test_a_read_gives_up_waiting_with_a_reason(store: PostgresEventStore) -> None:
    await store.append(A, [Counted()], expect=ANY)
    async with store.connection() as slow, slow.transaction():
        await slow.execute("lock table events in row exclusive mode")
        with pytest.raises(StoreUnavailable, match=r"under way for more than 0\.05 seconds"):
            await store.high_water_mark(timeout=0.05)


async def test_a_type_without_a_class_is_an_error(store: PostgresEventStore) -> None:
    await store.append(A, [Renamed(name="x")], expect=ANY)
    with pytest.raises(UnknownEventType, match="Renamed v1"):
        EventDecoder([Counted]).decode((await store.read())[0])


def test_two_classes_of_one_stored_name_are_an_error() -> None:
    class Other(Event, name="Counted"):
        pass

    with pytest.raises(ConfigurationError, match="both read what is stored as Counted"):
        EventDecoder[Event]([Counted, Other])


async def test_appends_are_announced_once_for_many(store: PostgresEventStore, database_url: str) -> None:
    async with store.connection() as listener:
        await listener.execute(f"listen {listener.store.channel}")
        await asyncio.gather(*(store.append(counter(str(name)), [Counted()], expect=ANY) for name in range(9)))
        heard = [each async for each in listener.notifies(timeout=5, stop_after=1)]
        heard += [each async for each in listener.notifies(timeout=0.1)]
    assert 1 <= len(heard) <= 5


async def test_a_server_that_restarts_costs_one_failed_call(database_url: str, postgres: EmbeddedPostgres) -> None:
    async with PostgresEventStore.open(database_url) as store:
        await asyncio.gather(*(store.append(counter(str(name)), [Counted()], expect=ANY) for name in range(9)))
        await postgres.restart()
        with pytest.raises(StoreUnavailable, match="retry"):
            await store.append(A, [Counted()], expect=ANY)
        for _ in range(9):
            await store.append(A, [Counted()], expect=ANY)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense//user:hunter2@host/db",
        "postgresql://user:hunter2@host/db?nonsense=1",
        "postgresql://user:hun/hunter2@host/db",
        "postgresql://user:hunter2@localhost:1/db",
    ],
)
async def test_no_error_shows_the_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises((ConfigurationError, StoreUnavailable)) as caught:
        async with PostgresEventStore.open(url, pool_timeout=0.5):
            pass
    everything = caplog.text
    error: BaseException | None = caught.value
    while error is not None:
        everything += repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert "hun" not in everything


async def test_every_connection_is_bounded_in_what_it_waits_for(store: PostgresEventStore) -> None:
    async with store.connection() as connection:
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            row = await (await connection.execute("select current_setting(%s)", (setting,))).fetchone()
            assert row is not None
            assert row[0] != "0"
        name = await (await connection.execute("select current_setting('application_name')")).fetchone()
        assert name == ("counteract",)

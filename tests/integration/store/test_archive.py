"""Events of closed streams go to a file and back: all of a stream's or none, each in its place."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import psycopg
import pytest

from counteract import FORGOTTEN, Decider, Event, Forgotten, Personal
from counteract.errors import InvalidArchive, StoreError, StreamArchived
from counteract.lifecycle import SagaCompleted, SagaStarted, sagas
from counteract.messages import StreamId
from counteract.store import ANY, NO_STREAM, PostgresEventStore
from counteract.store.archive.streams import (
    Archived,
    Idle,
    Named,
    Restored,
    archive_streams,
    continue_archiving,
    restore_streams,
)
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_PLACEHOLDERS, append_arguments
from counteract.store.postgres.connect import connect
from counteract.store.transfer.bulk_import import import_events
from tests.counters import Counted, counter

pytestmark = pytest.mark.integration

A, B, C = counter("a"), counter("b"), counter("c")
BOTH = Named([A, B])


class Registered(Event):
    customer: str
    email: Annotated[str | Forgotten, Personal("customer")]


def _last_email(email: str | Forgotten | None, event: Registered) -> str | Forgotten | None:
    return event.email


customers: Decider[str | Forgotten | None, Registered] = Decider(
    "customer", initial=None, evolve=_last_email, events=Registered
)


def exists(file: Path) -> bool:
    return file.exists()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def rewrite(file: Path, before: bytes, after: bytes) -> None:
    file.write_bytes(gzip.compress(unpacked(file).replace(before, after)))


def unpacked(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes())


@pytest.fixture
async def store(event_store: PostgresEventStore) -> PostgresEventStore:
    """With the streams a and b, whose events lie between each other's: a at positions 1, 3, 5 and b at 2, 4, 6."""
    for number in range(3):
        for stream in (A, B):
            await event_store.append(stream, [Counted(amount=number, note="ünï\u2028\t\\")], expect=ANY)
    return event_store


def rows(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select e.*, e.event_data::text from events e order by position").fetchall()


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


async def positions(store: PostgresEventStore) -> list[int]:
    return [each.position for each in await store.read()]


async def somebody_waits(url: str) -> None:
    while True:
        with psycopg.connect(url) as connection:
            if connection.execute("select from pg_locks where not granted").rowcount:
                return
        await asyncio.sleep(0.01)


async def test_all_events_but_a_streams_last_one_leave_the_store(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    assert await archive_streams(database_url, BOTH, file) == Archived(streams=2, events=4)
    assert await positions(store) == [5, 6]


async def test_they_come_back_exactly_as_they_were(store: PostgresEventStore, database_url: str, file: Path) -> None:
    exact = b'{"exact": 0.12345678901234567890123, "large": 123456789012345678901234567890, "amount": 1.10}'
    line = b'{"event_id": "%s", "aggregate_type": "counter", "aggregate_id": "c", "event_type": "X", "event_data": %s}'
    await import_events(database_url, [line % (str(uuid4()).encode(), exact) for _ in range(2)])
    before = rows(database_url)
    await archive_streams(database_url, Named([A, B, C]), file)

    assert await restore_streams(database_url, file) == Restored(streams=3, events=5)
    assert rows(database_url) == before


@pytest.mark.usefixtures("store")
async def test_a_digest_is_the_same_in_every_session(database_url: str) -> None:
    found = set()
    for settings in ("", "set timezone = 'Asia/Tokyo'", "set datestyle = 'German'; set bytea_output = 'escape'"):
        with psycopg.connect(database_url) as connection:
            connection.execute(settings.encode() or b"select")
            found.add(connection.execute("select stream_digest('counter', 'a', 3)").fetchone())
    assert len(found) == 1


async def test_a_long_stream_goes_and_comes_back_in_pages(
    event_store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await event_store.append(A, [Counted()] * 2500, expect=NO_STREAM)
    before = rows(database_url)

    assert await archive_streams(database_url, Named([A]), file) == Archived(streams=1, events=2499)
    await restore_streams(database_url, file)
    assert rows(database_url) == before


async def test_only_streams_of_the_category_that_are_idle_for_so_long_are_archived(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await store.append(StreamId("other", "a"), [Counted()] * 2, expect=ANY)
    await asyncio.sleep(0.5)
    await store.append(B, [Counted()], expect=ANY)
    await store.append(C, [Counted()] * 2, expect=ANY)

    done = await archive_streams(database_url, Idle("counter", timedelta(seconds=0.4)), file)
    assert done == Archived(streams=1, events=2)
    assert [each.version for each in await store.read_stream(B)] == [1, 2, 3, 4]
    assert len(await store.read_stream(StreamId("other", "a"))) == 2


async def test_streams_that_are_archived_or_have_one_event_only_are_not_chosen(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await store.append(C, [Counted()], expect=ANY)
    every = Idle("counter", timedelta(0))
    await archive_streams(database_url, every, file)

    another = file.with_name("another")
    assert await archive_streams(database_url, every, another) == Archived()
    assert not exists(another)


@pytest.mark.parametrize(
    ("stream", "said"), [(C, "there is no stream counter/c"), (counter("one"), "counter/one has one event only")]
)
async def test_a_named_stream_that_has_nothing_to_archive_is_refused_before_anything_is_done(
    store: PostgresEventStore, database_url: str, file: Path, stream: StreamId, said: str
) -> None:
    await store.append(counter("one"), [Counted()], expect=ANY)
    with pytest.raises(StoreError, match=said):
        await archive_streams(database_url, Named([A, stream]), file)
    assert not exists(file)
    assert len(await store.read_stream(A)) == 3


async def test_a_named_stream_that_is_archived_is_refused_with_its_file(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    with pytest.raises(StreamArchived, match="restore old"):
        await archive_streams(database_url, Named([A]), file.with_name("another"))


async def test_the_application_is_told_who_archives(app_url: str, file: Path) -> None:
    for attempt in (archive_streams(app_url, BOTH, file), restore_streams(app_url, file)):
        with pytest.raises(StoreError, match="connect as the owner, not as counteract_app"):
            await attempt


async def test_what_a_subscription_has_yet_to_read_is_refused(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    execute(database_url, "insert into subscriptions (name, position) values ('done', 6), ('slow', 3)")
    with pytest.raises(StoreError, match=r"let it read on.*slow is at position 3, and counter/b .* up to position 4"):
        await archive_streams(database_url, BOTH, file)
    assert not exists(file)
    assert await positions(store) == [1, 2, 3, 4, 5, 6]

    execute(database_url, "update subscriptions set position = 4 where name = 'slow'")
    assert (await archive_streams(database_url, BOTH, file)).streams == 2


async def test_a_subscription_that_starts_over_meanwhile_is_noticed(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    await restore_streams(database_url, file)
    execute(database_url, "insert into subscriptions (name, position) values ('anew', 0)")
    with pytest.raises(StoreError, match="subscription anew is at position 0"):
        await continue_archiving(database_url, file)
    assert len(await positions(store)) == 6


async def test_an_append_under_way_is_waited_for_and_its_stream_stays(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    async with await connect(database_url) as writer, writer.transaction():
        arguments = append_arguments([StreamChange(A, 3, 3, [Counted()])], {}, [uuid4()])
        await writer.execute(f"select * from append_events({APPEND_PLACEHOLDERS})", arguments)
        archiving = asyncio.create_task(archive_streams(database_url, BOTH, file))
        await somebody_waits(database_url)
    assert await archiving == Archived(streams=1, events=2, left=1)
    assert [each.version for each in await store.read_stream(A)] == [1, 2, 3, 4]

    # The file holds it all the same, and that does no harm.
    assert await restore_streams(database_url, file) == Restored(streams=1, events=2, present=1)


async def test_what_broke_off_between_the_streams_is_gone_on_with(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    async with await connect(database_url) as other, other.transaction():
        await other.execute("select pg_advisory_xact_lock(hashtextextended('b', hashtextextended('counter', 0)))")
        archiving = asyncio.create_task(archive_streams(database_url, BOTH, file))
        await somebody_waits(database_url)
        archiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await archiving
    assert await positions(store) == [2, 4, 5, 6]

    assert await continue_archiving(database_url, file) == Archived(streams=2, events=4)
    assert await continue_archiving(database_url, file) == Archived(streams=2, events=4)
    assert await positions(store) == [5, 6]


async def test_a_process_that_is_killed_leaves_each_stream_here_or_in_the_file(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    options = ["--category", "counter", "--idle-for", "0s", "--to", str(file), "--database-url", database_url]
    async with await connect(database_url) as other, other.transaction():
        await other.execute("select pg_advisory_xact_lock(hashtextextended('b', hashtextextended('counter', 0)))")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "counteract.cli", "store", "archive", *options
        )
        await somebody_waits(database_url)
        process.kill()
        await process.wait()
        assert await positions(store) == [2, 4, 5, 6]

    # The server may go through with what the process had asked of it, or not.
    await continue_archiving(database_url, file)
    assert await positions(store) == [5, 6]
    assert await restore_streams(database_url, file) == Restored(streams=2, events=4)


async def test_nothing_leaves_for_a_file_that_was_changed_in_between(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    await restore_streams(database_url, file)
    rewrite(file, b'"b"', b'"c"')
    with pytest.raises(InvalidArchive, match="was changed"):
        await continue_archiving(database_url, file)
    assert len(await positions(store)) == 6


async def test_a_restore_is_safe_to_repeat(store: PostgresEventStore, database_url: str, file: Path) -> None:
    await archive_streams(database_url, BOTH, file)
    await restore_streams(database_url, file)
    assert await restore_streams(database_url, file) == Restored(streams=0, events=0, present=2)
    assert len(await positions(store)) == 6


async def test_a_stream_can_be_archived_again_after_a_restore(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    await restore_streams(database_url, file)
    await store.append(A, [Counted()], expect=ANY)

    another = file.with_name("another")
    assert await archive_streams(database_url, Named([A]), another) == Archived(streams=1, events=3)
    with pytest.raises(
        InvalidArchive, match="counter/a is archived in another with other events than here: restore that file"
    ):
        await restore_streams(database_url, file)
    assert await restore_streams(database_url, another) == Restored(streams=1, events=3)


async def test_an_archive_of_another_database_is_refused(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    execute(database_url, "delete from archived_streams")
    with pytest.raises(InvalidArchive, match="counter/a has other events than its archive"):
        await restore_streams(database_url, file)
    assert await positions(store) == [5, 6]


async def test_a_changed_file_is_refused_before_anything_is_put_back(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    cut(file)
    with pytest.raises(InvalidArchive):
        await restore_streams(database_url, file)
    assert await positions(store) == [5, 6]


async def test_readers_of_the_log_do_not_wait_for_what_is_archived(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    await store.append(C, [Counted()], expect=ANY)
    assert await positions(store) == [5, 6, 7]
    assert await store.high_water_mark() == 7


async def test_a_person_is_forgotten_in_archives_too(
    event_store: PostgresEventStore, database_url: str, file: Path
) -> None:
    events: Sequence[Registered] = [Registered(customer="ann", email=f"{n}@example.com") for n in range(3)]
    await event_store.append(customers.stream("ann"), events, expect=NO_STREAM)
    await archive_streams(database_url, Named([customers.stream("ann")]), file)
    assert b"example.com" not in unpacked(file)

    await event_store.forget("ann")
    await restore_streams(database_url, file)
    stored = await event_store.read_stream(customers.stream("ann"))
    assert [Registered.model_validate_json(each.data).email for each in stored] == [FORGOTTEN] * 3


async def test_sealed_data_is_opened_again_after_a_restore(
    event_store: PostgresEventStore, database_url: str, file: Path
) -> None:
    events = [Registered(customer="ann", email=f"{n}@example.com") for n in range(3)]
    await event_store.append(customers.stream("ann"), events, expect=NO_STREAM)
    await archive_streams(database_url, Named([customers.stream("ann")]), file)
    await restore_streams(database_url, file)
    assert (await event_store.load(customers, "ann")).state == "2@example.com"


async def test_a_saga_that_comes_back_is_not_put_on_record_as_if_it_began(
    event_store: PostgresEventStore, database_url: str, file: Path
) -> None:
    stream = sagas.stream("order-1")
    events = [SagaStarted(saga_type="Order", run_id="r-1"), SagaCompleted(saga_type="Order", run_id="r-1", steps=())]
    await event_store.append(stream, events, expect=ANY)
    execute(database_url, "delete from sagas")
    await archive_streams(database_url, Named([stream]), file)
    await restore_streams(database_url, file)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select saga_id from sagas").fetchall() == []

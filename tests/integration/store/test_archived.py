"""Whoever needs events that are archived is told so, and whoever does not goes on: nobody is shown a state without them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from counteract.errors import StreamArchived, StreamIncomplete, WrongExpectedVersion
from counteract.store import ANY, NO_STREAM, AtPosition, AtVersion, PostgresEventStore
from counteract.store.archive.streams import Named, archive_streams, restore_streams
from tests.counters import Counted, counter, counters

pytestmark = pytest.mark.integration

A, B = counter("a"), counter("b")
BOTH = Named([A, B])


@pytest.fixture
async def store(event_store: PostgresEventStore) -> PostgresEventStore:
    """With three events in each of the streams a and b, in turns."""
    for number in range(3):
        for stream in (A, B):
            await event_store.append(stream, [Counted(amount=number)], expect=ANY)
    return event_store


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[PostgresEventStore]:
    """Another process, which knows nothing yet."""
    async with PostgresEventStore.open(url, pool_size=2, **options) as store:
        yield store


async def test_whoever_needs_the_events_is_told_where_they_are(
    store: PostgresEventStore, app_url: str, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    async with opened(app_url) as another:
        for read in (
            another.load(counters, "a"),
            another.load(counters, "a", at=AtVersion(1)),
            another.load(counters, "a", at=AtVersion(3)),
            another.load(counters, "a", at=AtPosition(4)),
            another.load(counters, "a", at=datetime.now(UTC)),
            another.read_stream(A),
            another.read_stream(A, after_version=1),
        ):
            with pytest.raises(StreamArchived) as caught:
                await read
            assert (caught.value.stream, caught.value.version, caught.value.file) == (A, 2, file.name)
            assert str(caught.value) == (
                "counter/a is archived up to version 2: `counteract store restore old.jsonl.gz` puts it back"
            )


async def test_whoever_does_not_need_them_goes_on(store: PostgresEventStore, database_url: str, file: Path) -> None:
    await archive_streams(database_url, Named([B]), file)

    assert (await store.load(counters, "a")).state == 3
    assert [each.version for each in await store.read_stream(B, after_version=2)] == [3]
    assert (await store.load(counters, "b", at=AtVersion(0))).state == 0
    assert (await store.load(counters, "b", at=AtPosition(1))).version == 0


async def test_after_a_restore_everything_is_read_as_before(
    store: PostgresEventStore, app_url: str, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    await restore_streams(database_url, file)
    async with opened(app_url) as another:
        assert (await another.load(counters, "a")).state == 3
        assert [each.version for each in await another.read_stream(A)] == [1, 2, 3]


async def test_a_stream_keeps_its_version_and_cannot_begin_anew(
    store: PostgresEventStore, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    with pytest.raises(WrongExpectedVersion) as caught:
        await store.append(A, [Counted()], expect=NO_STREAM)
    assert caught.value.actual == 3
    assert (await store.append(A, [Counted()], expect=ANY)).version == 4


async def test_what_was_appended_since_stays_where_the_rest_is_put_back(
    store: PostgresEventStore, app_url: str, database_url: str, file: Path
) -> None:
    await archive_streams(database_url, BOTH, file)
    await store.append(A, [Counted(amount=10)], expect=ANY)
    await restore_streams(database_url, file)
    async with opened(app_url) as another:
        assert (await another.load(counters, "a")).state == 13


async def test_a_snapshot_at_or_after_the_last_archived_event_makes_a_load_possible(
    app_url: str, database_url: str, file: Path
) -> None:
    async with opened(app_url, snapshot_every=2) as store:
        await store.append(A, [Counted()] * 2, expect=NO_STREAM)
        await store.load(counters, "a")
        await store.append(A, [Counted()], expect=ANY)
    await archive_streams(database_url, Named([A]), file)
    async with opened(app_url) as another:
        assert (await another.load(counters, "a")).state == 3


async def test_a_snapshot_before_the_last_archived_event_does_not(app_url: str, database_url: str, file: Path) -> None:
    async with opened(app_url, snapshot_every=2) as store:
        await store.append(A, [Counted()] * 2, expect=NO_STREAM)
        await store.load(counters, "a")
        await store.append(A, [Counted()] * 2, expect=ANY)
    await archive_streams(database_url, Named([A]), file)
    async with opened(app_url) as another:
        with pytest.raises(StreamArchived):
            await another.load(counters, "a")


async def test_a_state_in_memory_before_the_last_archived_event_does_not_either(
    app_url: str, database_url: str, file: Path
) -> None:
    async with opened(app_url, snapshot_every=0) as store:
        await store.append(A, [Counted()] * 2, expect=NO_STREAM)
        await store.load(counters, "a")
        async with opened(app_url) as another:
            await another.append(A, [Counted()] * 2, expect=ANY)
        await archive_streams(database_url, Named([A]), file)
        with pytest.raises(StreamArchived):
            await store.load(counters, "a")


async def test_a_load_that_was_at_its_second_page_notices(app_url: str, database_url: str, file: Path) -> None:
    async with opened(app_url, snapshot_every=0) as store:
        await store.append(A, [Counted()] * 1500, expect=NO_STREAM)
        fold = store.begin_load(counters, "a")
        async with store.connection() as connection:
            first_page = await (await connection.execute(fold.query, fold.parameters)).fetchall()
            await archive_streams(database_url, Named([A]), file)
            with pytest.raises(StreamArchived):
                await fold.finish(connection, first_page)


async def test_a_hole_that_nobody_archived_is_not_passed_over(app_url: str, database_url: str) -> None:
    columns = "(event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)"
    with psycopg.connect(database_url) as owner:
        for version in (1, 3):
            values = f"(gen_random_uuid(), 'counter', 'a', {version}, 'Counted', 1, '{{}}', '{{}}')"
            owner.execute(f"insert into events {columns} values {values}".encode())
    async with opened(app_url) as store:
        for read in (store.load(counters, "a"), store.read_stream(A)):
            with pytest.raises(StreamIncomplete, match=r"^counter/a lacks events .*counteract store verify"):
                await read

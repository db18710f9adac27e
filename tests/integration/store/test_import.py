"""Events imported in bulk: all of a batch or none, versions without holes, once however often the import runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from counteract.errors import EventIdReused, InvalidImport, StoreError, StreamArchived, WrongExpectedVersion
from counteract.lifecycle import sagas
from counteract.messages import StreamId
from counteract.store import ANY, NO_STREAM, PostgresEventStore, Query
from counteract.store.archive.streams import Named, archive_streams
from counteract.store.postgres.connect import connect
from counteract.store.transfer.bulk_import import Imported, import_events
from counteract.store.transfer.lines import exported
from tests.counters import Counted, counter, counters

pytestmark = pytest.mark.integration

A, B = counter("a"), counter("b")


def line(stream: StreamId = A, amount: int = 1, **fields: Any) -> bytes:
    """A line of an import; a field of None is left out."""
    described = {
        "event_id": str(uuid4()),
        "aggregate_type": stream.aggregate_type,
        "aggregate_id": stream.aggregate_id,
        "event_type": "Counted",
        "event_data": {"amount": amount},
    }
    return json.dumps({name: value for name, value in (described | fields).items() if value is not None}).encode()


async def all_lines(store: PostgresEventStore) -> list[bytes]:
    return [text.encode() async for page in exported(store) for text in page]


async def contents(store: PostgresEventStore) -> list[tuple[UUID, StreamId, int, str, int, str]]:
    events = await store.read(limit=100_000)
    return [
        (each.event_id, each.stream, each.version, each.event_type, each.schema_version, each.data) for each in events
    ]


async def versions(store: PostgresEventStore, stream: StreamId) -> list[int]:
    return [each.version for each in await store.read_stream(stream)]


async def test_what_was_exported_comes_back_as_it_was(
    database_url: str, event_store: PostgresEventStore, another_database_url: str
) -> None:
    for number in range(30):
        stream = A if number % 3 else B
        await event_store.append(
            stream, [Counted(amount=number, note="tab\t\\ ünï\u2028\n")], expect=ANY, metadata={"step": "s"}
        )
    await import_events(another_database_url, await all_lines(event_store), batch_size=7)

    async with PostgresEventStore.open(another_database_url) as another:
        assert await contents(another) == await contents(event_store)
        assert (await another.load(counters, "a")).state == (await event_store.load(counters, "a")).state


async def test_numbers_keep_every_digit(database_url: str, event_store: PostgresEventStore) -> None:
    text = '{"exact": 0.12345678901234567890123, "large": 123456789012345678901234567890, "amount": 1.10}'
    whole = line().replace(b'{"amount": 1}', text.encode())
    await import_events(database_url, [whole])

    assert (await event_store.read())[0].data == text
    assert text.encode() in (await all_lines(event_store))[0]


@pytest.mark.parametrize("character", ["\t", "\n", "\r", "\\", "\\N", "\\."])
async def test_what_means_something_to_copy_is_text_like_any_other(
    database_url: str, event_store: PostgresEventStore, character: str
) -> None:
    odd = StreamId("counter", f"a{character}b")
    await import_events(
        database_url, [line(odd, event_data={"note": character}), line(odd), line(StreamId("\\N", "a"))]
    )

    events = await event_store.read()
    assert [each.stream for each in events] == [odd, odd, StreamId("\\N", "a")]
    assert json.loads(events[0].data) == {"note": character}


async def test_data_may_be_written_with_any_white_space(database_url: str, event_store: PostgresEventStore) -> None:
    await import_events(database_url, [line().replace(b'{"amount": 1}', b'{\t"amount":\r\n1}'), line()])

    assert [each.data for each in await event_store.read()] == ['{"amount": 1}'] * 2


async def test_the_time_of_origin_is_metadata_and_the_time_of_recording_the_databases(
    database_url: str, event_store: PostgresEventStore
) -> None:
    metadata = {"user_id": "u", "deep": {"number": 1}}
    await import_events(database_url, [line(created_at="2001-02-03T04:05:06.789+02:00", metadata=metadata)])

    stored = (await event_store.read())[0]
    assert stored.metadata == metadata | {"occurred_at": "2001-02-03T02:05:06.789000Z"}
    assert stored.recorded_at.year > 2001


async def test_an_event_that_was_imported_before_keeps_its_first_time_of_origin(
    database_url: str, event_store: PostgresEventStore
) -> None:
    origin = {"occurred_at": "1999-01-01T00:00:00Z"}
    await import_events(database_url, [line(created_at="2001-02-03T04:05:06Z", metadata=origin)])

    assert (await event_store.read())[0].metadata == origin


async def test_a_stream_may_go_through_many_batches(database_url: str, event_store: PostgresEventStore) -> None:
    lines = [line(A if number % 3 else B, number) for number in range(50)]
    done = await import_events(database_url, lines, batch_size=4)

    assert done == Imported(lines=50, bytes=sum(map(len, lines)), stored=50, present=0)
    assert await versions(event_store, A) == list(range(1, 34))
    assert await versions(event_store, B) == list(range(1, 18))


async def test_each_batch_is_there_for_readers_before_the_next(
    database_url: str, event_store: PostgresEventStore
) -> None:
    seen = []

    def look(done: Imported) -> None:
        with psycopg.connect(database_url) as connection:
            count = connection.execute("select count(*) from events").fetchone()
        seen.append((done.stored, count))

    await import_events(database_url, [line() for _ in range(5)], batch_size=2, progress=look)
    assert seen == [(2, (2,)), (4, (4,)), (5, (5,))]


@pytest.mark.parametrize("continue_streams", [False, True])
async def test_an_import_that_broke_off_is_run_again_and_stores_the_rest(
    database_url: str, event_store: PostgresEventStore, continue_streams: bool
) -> None:
    lines = [line(A if number % 2 else B, number) for number in range(20)]

    def breaking_off() -> Iterator[bytes]:
        yield from lines[:13]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await import_events(database_url, breaking_off(), batch_size=4, continue_streams=continue_streams)
    assert len(await event_store.read()) == 12

    # In other batches, so that one of them is stored in part.
    done = await import_events(database_url, lines, batch_size=5, continue_streams=continue_streams)
    assert (done.stored, done.present) == (8, 12)
    assert await versions(event_store, A) == await versions(event_store, B) == list(range(1, 11))


async def test_the_same_import_at_the_same_time_is_one_import(
    database_url: str, event_store: PostgresEventStore
) -> None:
    lines = [line(A if number % 2 else B, number) for number in range(2000)]
    first, second = await asyncio.gather(
        *(import_events(database_url, lines, batch_size=100, continue_streams=True) for _ in range(2))
    )

    assert first.stored + second.stored == first.present + second.present == 2000
    assert await versions(event_store, A) == list(range(1, 1001))


@pytest.mark.parametrize("batch_size", [1, 3, 10])
async def test_a_line_that_is_repeated_in_the_file_is_one_event(
    database_url: str, event_store: PostgresEventStore, batch_size: int
) -> None:
    first, second, third = line(amount=1), line(amount=2), line(amount=3)
    await import_events(database_url, [first, second, b"\n", first, third], batch_size=batch_size)

    assert await versions(event_store, A) == [1, 2, 3]
    assert (await event_store.load(counters, "a")).state == 6


@pytest.mark.parametrize("batch_size", [1, 10])
async def test_an_id_with_other_content_is_refused_and_its_line_named(
    database_url: str, event_store: PostgresEventStore, batch_size: int
) -> None:
    event_id = str(uuid4())
    lines = [line(), line(event_id=event_id, amount=1), line(event_id=event_id.upper(), amount=2)]
    with pytest.raises((EventIdReused, InvalidImport), match=r"line 3: .*with other content"):
        await import_events(database_url, lines, batch_size=batch_size)


async def test_every_bad_line_of_a_batch_is_named_and_nothing_of_it_is_stored(
    database_url: str, event_store: PostgresEventStore
) -> None:
    lines = [line(), line(), line(), b"{", line(), line(event_id="none")]
    with pytest.raises(InvalidImport) as caught:
        await import_events(database_url, lines, batch_size=2)
    assert caught.value.problems == ("line 4: Input data was truncated",)
    assert await versions(event_store, A) == [1, 2]

    with pytest.raises(InvalidImport) as caught:
        await import_events(database_url, lines, batch_size=100)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["line 4", "line 6"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"\xff" + line(), "can't decode byte 0xff"),
        (b"[]", "Expected `object`, got `array`"),
        (line(event_id=None), "missing required field `event_id`"),
        (line(event_id="12345678123456781234567812345678"), "event_id is no UUID"),
        (line(aggregate_id=7), "Expected `str`, got `int` - at `$.aggregate_id`"),
        (line(aggregate_id="\0"), "u0000"),
        (line(event_data=[1]), "must be objects"),
        (line(metadata="secret"), "must be objects"),
        pytest.param(line(event_data={"note": "x" * 2**26}), "more than 67108864 bytes", id="size"),
        (line(schema_version=0), ">= 1 - at `$.schema_version`"),
        (line(created_at="2001-02-03T04:05:06"), "with a timezone component"),
        (line(event_date={"note": "secret"}), "unknown field `event_date`"),
        (line().replace(b": 1}", b": NaN}"), "JSON is malformed"),
        pytest.param(
            line().replace(b": 1}", b": %b}" % (b"[" * 5000 + b"]" * 5000)), "it nests too deeply", id="depth"
        ),
        # What only the server finds.
        (line(event_data={"note": "secret\0"}), "unsupported Unicode escape sequence"),
        (line(aggregate_id="".join(map(chr, range(300, 9000)))), "index row requires"),
    ],
)
async def test_what_is_wrong_with_a_line_is_said_without_what_it_holds(
    database_url: str, event_store: PostgresEventStore, bad: bytes, said: str
) -> None:
    with pytest.raises(InvalidImport) as caught:
        await import_events(database_url, [line(), b"\n", bad, line()])
    assert str(caught.value).startswith("these lines cannot be imported:\nline 3: ")
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert await event_store.read() == []


async def test_a_stream_that_exists_is_refused_or_continued(database_url: str, event_store: PostgresEventStore) -> None:
    await event_store.append(A, [Counted()], expect=NO_STREAM)
    lines = [line(B), line(A), line(A)]
    with pytest.raises(WrongExpectedVersion) as caught:
        await import_events(database_url, lines)
    assert (caught.value.stream, caught.value.actual) == (A, 1)
    assert await versions(event_store, B) == []

    await import_events(database_url, lines, continue_streams=True)
    assert (await versions(event_store, A), await versions(event_store, B)) == ([1, 2, 3], [1])


async def test_an_import_that_is_run_again_refuses_what_was_appended_in_between(
    database_url: str, event_store: PostgresEventStore
) -> None:
    lines = [line(A), line(A)]
    await import_events(database_url, lines[:1])
    await event_store.append(A, [Counted()], expect=ANY)
    with pytest.raises(WrongExpectedVersion, match="counter/a is at version 2, expected version 1"):
        await import_events(database_url, lines)


@pytest.mark.parametrize("continue_streams", [False, True])
async def test_an_import_into_a_stream_that_is_being_appended_to_is_refused(
    database_url: str, event_store: PostgresEventStore, continue_streams: bool
) -> None:
    async with await connect(database_url) as writer:
        async with writer.transaction():
            await insert(writer, A)
            importing = asyncio.create_task(
                import_events(database_url, [line(B), line(A)], continue_streams=continue_streams)
            )
            await somebody_waits(event_store)
        with pytest.raises(WrongExpectedVersion, match="counter/a is at version 1, expected version 0"):
            await importing
    assert await versions(event_store, B) == []


async def test_an_append_to_a_stream_that_is_being_imported_is_told_to_load_again(
    database_url: str, event_store: PostgresEventStore
) -> None:
    stream = StreamId("counter", "ann, bob")
    async with await connect(database_url) as importer:
        async with importer.transaction():
            await insert(importer, stream)
            appending = asyncio.create_task(event_store.append(stream, [Counted()], expect=NO_STREAM))
            await somebody_waits(event_store)
        with pytest.raises(WrongExpectedVersion) as caught:
            await appending
    assert (caught.value.stream, caught.value.expected, caught.value.actual) == (stream, "version 0", 1)


@pytest.mark.parametrize("continue_streams", [False, True])
async def test_what_is_archived_is_not_imported_a_second_time(
    database_url: str, event_store: PostgresEventStore, tmp_path: Path, continue_streams: bool
) -> None:
    lines = [line(B), *(line(A) for _ in range(3))]
    await import_events(database_url, lines)
    await archive_streams(database_url, Named([A]), tmp_path / "old")
    before = await contents(event_store)
    with pytest.raises(StreamArchived, match="counter/a is archived up to version 2"):
        await import_events(database_url, lines, continue_streams=continue_streams)
    assert await contents(event_store) == before


async def test_tags_are_found_however_their_name_is_written(database_url: str, event_store: PostgresEventStore) -> None:
    written = line(metadata={"$tags": ["email:a"], "user_id": "\\u0024"}).replace(b'"$tags"', rb'"\u0024t\u0061gs"')
    assert b"$tags" not in written
    await import_events(database_url, [written])
    (found,) = (await event_store.find(Query.of(tags=["email:a"]))).events
    assert found.metadata == {"$tags": ["email:a"], "user_id": "\\u0024"}


async def test_an_import_is_run_again_whichever_key_is_asked_first(
    database_url: str, event_store: PostgresEventStore
) -> None:
    """As in a restored copy, whose keys may have been made in another order."""
    lines = [line(A), line(B), line(A)]
    await import_events(database_url, lines[:2])
    async with await connect(database_url) as owner:
        await owner.execute("alter table events drop constraint events_event_id_key")
        await owner.execute("alter table events add constraint events_event_id_key unique (event_id)")
    assert await import_events(database_url, lines) == Imported(3, sum(map(len, lines)), stored=1, present=2)
    assert await import_events(database_url, lines) == Imported(3, sum(map(len, lines)), stored=0, present=3)
    assert await versions(event_store, A) == [1, 2]


async def test_the_application_is_told_that_only_the_owner_imports(app_url: str) -> None:
    with pytest.raises(StoreError, match="connect as the owner, who also migrates, not as counteract_app"):
        await import_events(app_url, [line()])


async def test_an_export_ends_where_the_log_ended_when_it_began(event_store: PostgresEventStore) -> None:
    await event_store.append(A, [Counted()] * 1500, expect=NO_STREAM)
    found = []
    async for page in exported(event_store, after=300):
        found += [json.loads(text)["position"] for text in page]
        await event_store.append(B, [Counted()], expect=ANY)
    assert found == list(range(301, 1501))


async def insert(connection: psycopg.AsyncConnection[Any], stream: StreamId) -> None:
    """As COPY does, without taking turns with anybody."""
    await connection.execute(
        "insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, "
        "metadata) values (gen_random_uuid(), %s, %s, 1, 'Counted', 1, '{}', '{}')",
        stream,
    )


async def somebody_waits(store: PostgresEventStore) -> None:
    """Returns once a session waits for another's transaction to end."""
    async with asyncio.timeout(10), store.connection() as connection:
        query = "select from pg_locks where locktype = 'transactionid' and not granted"
        while (await connection.execute(query)).rowcount == 0:  # noqa: ASYNC110 - it happens in the database
            await asyncio.sleep(0.005)


async def test_what_an_append_may_have_stored_is_not_too_large(
    database_url: str, event_store: PostgresEventStore
) -> None:
    """PostgreSQL writes a blank behind each comma."""
    whole = line().replace(b'{"amount": 1}', b'{"amount": 1, "list": [%b]}' % b", ".join([b"1"] * 400_000))
    await import_events(database_url, [whole])

    assert len((await event_store.read())[0].data) > 1_048_576


async def test_the_sagas_of_another_store_are_not_put_on_record_as_if_they_began(
    database_url: str, event_store: PostgresEventStore
) -> None:
    data = {"saga_type": "Order", "run_id": "r-1"}
    await import_events(
        database_url, [line(sagas.stream("order-1"), event_type="SagaStarted", event_data=data, metadata={})]
    )

    async with event_store.connection() as connection:
        assert await (await connection.execute("select saga_id from sagas")).fetchall() == []

"""Projections in the transaction of each append: never behind, and never forgotten by anybody who appends."""

from __future__ import annotations

import asyncio
import json
import random
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import BigInteger, Column, Text, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.dml import UpdateBase

from counteract import Recorded, Retriable
from counteract.errors import (
    ConfigurationError,
    InlineProjectionGone,
    InlineProjectionMissing,
    StoreError,
    StoreUnavailable,
    WrongExpectedVersion,
)
from counteract.messages import Dispatch, Role
from counteract.participants.answers import Answer
from counteract.participants.fence import Fence, Found
from counteract.participants.request import Request
from counteract.projections import Projection, ProjectionRunner, reached
from counteract.projections.rebuild import drop, rebuild
from counteract.store import ANY, NO_STREAM, PostgresEventStore
from counteract.store.archive.streams import Named, archive_streams, restore_streams
from counteract.store.expect import StreamChange
from counteract.store.postgres.connect import connect
from counteract.store.transfer.bulk_import import import_events
from counteract.subscriptions.administration import NoSuchSubscription, set_paused, standings
from tests.counters import Counted, CounterReset, Renamed, counter
from tests.integration.projections.inline_totals import enter, opened, rows, totals
from tests.writers import append

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0


class Touch(Retriable[int], service="q"):
    """A command to be recorded."""


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    async with opened(app_url, totals()) as store:
        yield store


async def events_stored(store: PostgresEventStore) -> int:
    return len(await store.read(limit=10_000))


async def test_rows_are_there_when_the_append_returns(store: PostgresEventStore, engine: AsyncEngine) -> None:
    for number in range(1, 4):
        await store.append(counter("a"), [Counted(), Counted(amount=2)], expect=ANY)
        assert await rows(engine) == {"a": 3 * number, "*": 3 * number}


async def test_handlers_see_the_event_as_it_is_stored(store: PostgresEventStore, engine: AsyncEngine) -> None:
    await store.append(counter("b"), [Counted(), Renamed(name="c")], expect=ANY)
    appended = await store.append(counter("a"), [Counted(), CounterReset()], expect=ANY)
    async with engine.connect() as connection:
        columns = totals().table.c
        last = await connection.execute(select(columns.last).where(columns.counter == "a"))
        assert last.scalar_one() == appended.position


async def test_an_append_of_many_streams_changes_their_rows_at_once(
    store: PostgresEventStore, engine: AsyncEngine
) -> None:
    await store.append_many([StreamChange(counter(name), 0, 0, [Counted(amount=5)]) for name in "abc"])
    assert await rows(engine) == {"a": 5, "b": 5, "c": 5, "*": 15}


async def test_a_repeat_counts_nothing_twice(store: PostgresEventStore, engine: AsyncEngine) -> None:
    ids = [uuid4()]
    first = await store.append(counter("a"), [Counted()], expect=ANY, event_ids=ids)
    assert await store.append(counter("a"), [Counted()], expect=ANY, event_ids=ids) == first
    assert await rows(engine) == {"a": 1, "*": 1}


async def test_a_conflict_is_the_same_error_as_ever(store: PostgresEventStore, engine: AsyncEngine) -> None:
    await store.append(counter("a"), [Counted()], expect=NO_STREAM)
    with pytest.raises(WrongExpectedVersion, match="counter/a is at version 1, expected no stream"):
        await store.append(counter("a"), [Counted()], expect=NO_STREAM)
    assert await rows(engine) == {"a": 1, "*": 1}


async def test_a_handler_that_fails_fails_the_append(store: PostgresEventStore, engine: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="unlucky") as raised:
        await store.append(counter("a"), [Counted(), Counted(amount=13)], expect=ANY)
    assert raised.value.__notes__ == ["in the inline projection 'totals': nothing was appended"]
    assert (await events_stored(store), await rows(engine)) == (0, {})


async def test_a_row_that_the_table_refuses_fails_the_append(store: PostgresEventStore, engine: AsyncEngine) -> None:
    with pytest.raises(StoreError, match=r"cannot write its rows: .*totals_total_check") as raised:
        await store.append(counter("a"), [Counted(amount=1_000_000)], expect=ANY)
    assert "1000000" not in "".join(traceback.format_exception(raised.value))
    assert (await events_stored(store), await rows(engine)) == (0, {})


async def test_a_writer_that_does_not_keep_it_is_refused_and_told_what_to_do(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    async with opened(app_url) as unaware:
        with pytest.raises(InlineProjectionMissing, match=r"'totals' is kept .* inline=\[…\]"):
            await unaware.append(counter("a"), [Counted()], expect=ANY)
        await unaware.append(counter("a"), [Renamed(name="of no interest")], expect=ANY)
    await store.append(counter("a"), [Counted()], expect=ANY)
    assert await rows(engine) == {"a": 1, "*": 1}


async def test_a_writer_of_the_release_before_says_names_alone(store: PostgresEventStore, app_url: str) -> None:
    append = (
        "select append_event('counter', 'a', 0, 0, gen_random_uuid(), 'Counted', 1::smallint, '{\"amount\": 1}', '{}')"
    )
    async with await connect(app_url) as application, application.transaction():
        await application.execute("select set_config('counteract.inline', '{totals}', true)")
        await application.execute(append)
    assert await events_stored(store) == 1


async def test_many_writers_that_change_the_same_rows_lose_nothing(app_url: str, engine: AsyncEngine) -> None:
    """Each append changes several rows in an order of its own, so that they get into each other's way."""
    chance, expected = random.Random(5), Counter[str]()
    async with opened(app_url, totals()) as one, opened(app_url, totals()) as other:

        async def write(store: PostgresEventStore) -> None:
            for _ in range(15):
                names = chance.sample("abcdef", 4)
                await store.append_many([StreamChange(counter(name), 0, 2**31 - 1, [Counted()]) for name in names])
                expected.update(names)

        await asyncio.gather(*(write(store) for store in (one, other) for _ in range(4)))
    assert await rows(engine) == {**expected, "*": expected.total()}


async def test_writers_that_wait_for_each_other_in_a_circle_are_repeated(
    app_url: str, database_url: str, engine: AsyncEngine
) -> None:
    projection = Projection("marks", Column("mark", Text, primary_key=True), Column("number", BigInteger), inline=True)
    marks = projection.table

    @projection.on(Renamed)
    def renamed(recorded: Recorded[Renamed]) -> Iterator[UpdateBase]:
        """One row after the other, in the order of the letters, and after each a pause that lets others in."""
        pause = select(func.pg_sleep(0.05)).scalar_subquery().is_not(None)
        for name in recorded.event.name:
            yield update(marks).where(marks.c.mark == name, pause).values(number=marks.c.number + 1)

    words = ["abc", "cba", "bca"]
    async with await connect(database_url) as owner, opened(app_url, projection) as store:
        async with engine.begin() as connection:
            await connection.execute(insert(marks).values([{"mark": mark, "number": 0} for mark in "abc"]))
        await owner.execute("alter system set deadlock_timeout = '50ms'")
        await owner.execute("select pg_reload_conf()")
        try:
            appends = [store.append(counter(word), [Renamed(name=word)], expect=ANY) for word in words]
            await asyncio.gather(*appends)
        finally:
            await owner.execute("alter system reset deadlock_timeout")
            await owner.execute("select pg_reload_conf()")
    async with engine.connect() as connection:
        assert set((await connection.execute(select(marks.c.number))).scalars()) == {len(words)}


async def test_a_new_one_in_a_store_with_events_asks_for_a_rebuild_and_gets_it(
    event_store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    await event_store.append(counter("a"), [Counted(amount=3)], expect=ANY)
    with pytest.raises(ConfigurationError, match="counteract projections rebuild totals"):
        async with opened(app_url, totals()):
            pass
    # It was refused as a whole: whoever appends is still asked for nothing.
    await event_store.append(counter("a"), [Counted(amount=4)], expect=ANY)

    await rebuild(app_url, totals())

    with pytest.raises(InlineProjectionMissing):
        await event_store.append(counter("a"), [Counted()], expect=ANY)
    async with opened(app_url, totals()) as store:
        await store.append(counter("a"), [Counted()], expect=ANY)
    assert await rows(engine) == {"a": 8, "*": 8}


async def test_it_begins_only_after_appends_that_are_under_way(app_url: str) -> None:
    """They are not asked to keep it, so it must see what they stored."""
    async with await connect(app_url) as writer:
        async with writer.transaction():
            await append(writer, "a")
            opening = asyncio.create_task(enter(opened(app_url, totals())))
            assert not (await asyncio.wait([opening], timeout=0.5))[0]
        with pytest.raises(ConfigurationError, match="counteract projections rebuild totals"):
            await opening


async def test_several_processes_begin_at_once(app_url: str, engine: AsyncEngine) -> None:
    async def begin(name: str) -> None:
        async with opened(app_url, totals()) as store:
            await store.append(counter(name), [Counted()], expect=ANY)

    # Whoever comes after the first append finds that it is kept.
    await asyncio.gather(*(begin(name) for name in "abcd"))
    assert await rows(engine) == {"a": 1, "b": 1, "c": 1, "d": 1, "*": 4}


async def test_the_events_of_commands_count_once_however_often_they_are_sent(
    store: PostgresEventStore, engine: AsyncEngine
) -> None:
    fence, change = Fence(store), StreamChange(counter("a"), 0, 2**31 - 1, [Counted(amount=2)])
    sent = Dispatch(command_id=uuid4(), saga_id="s", saga_type="T", step="x", correlation_id="s", causation_id="r")

    async def record() -> Found:
        request = Request("Touch", Touch(), sent, Role.FORWARD, external=False)
        return await fence.record(request, Answer("done", "1", [change]))

    recorded = await asyncio.gather(*(record() for _ in range(4)))
    assert [(each.status, each.result) for each in recorded] == [("done", 1)] * 4
    assert await rows(engine) == {"a": 2, "*": 2}


async def test_one_that_was_asynchronous_becomes_inline_and_the_other_way_round(
    app_url: str, event_store: PostgresEventStore, engine: AsyncEngine
) -> None:
    await event_store.append(counter("a"), [Counted()], expect=ANY)
    await run_until_it_is_there(app_url, event_store)
    await rebuild(app_url, totals())
    with pytest.raises(ConfigurationError, match="kept by whoever appends"):
        await asyncio.wait_for(ProjectionRunner(app_url, [totals(inline=False)]).run(), PATIENCE)
    async with opened(app_url, totals()) as inline:
        await inline.append(counter("a"), [Counted()], expect=ANY)
        assert await rows(engine) == {"a": 2, "*": 2}

        await rebuild(app_url, totals(inline=False))

        # It still does what was right before, which would count twice.
        with pytest.raises(InlineProjectionGone, match="'totals' was dropped, or is no longer inline"):
            await inline.append(counter("a"), [Counted()], expect=ANY)
    await event_store.append(counter("a"), [Counted()], expect=ANY)
    await run_until_it_is_there(app_url, event_store)
    assert await rows(engine) == {"a": 3, "*": 3}


async def run_until_it_is_there(url: str, store: PostgresEventStore) -> None:
    task = asyncio.create_task(ProjectionRunner(url, [totals(inline=False)]).run())
    await reached(store, "totals", await store.high_water_mark(), timeout=PATIENCE)
    task.cancel()
    await asyncio.wait([task])


async def test_it_is_rebuilt_while_others_append(app_url: str, engine: AsyncEngine) -> None:
    stop = asyncio.Event()
    async with opened(app_url, totals()) as store:

        async def keep_writing(name: str) -> int:
            count = 0
            while not stop.is_set():
                await store.append(counter(name), [Counted()], expect=ANY)
                count += 1
            return count

        writers = [asyncio.create_task(keep_writing(name)) for name in "abc"]
        for _ in range(3):
            async with engine.begin() as connection:
                await connection.execute(text("update totals set total = total - 1 where counter <> '*'"))
            await rebuild(app_url, totals())
        stop.set()
        counts = dict(zip("abc", await asyncio.gather(*writers), strict=True))
    assert await rows(engine) == {**counts, "*": sum(counts.values())}


async def test_a_rebuild_that_cannot_handle_an_event_changes_nothing(
    event_store: PostgresEventStore, app_url: str
) -> None:
    await event_store.append(counter("a"), [Counted(amount=13)], expect=ANY)
    with pytest.raises(ConfigurationError, match="1 events cannot be handled: see `counteract parked show"):
        await rebuild(app_url, totals())
    await event_store.append(counter("b"), [Counted()], expect=ANY)


async def test_a_dropped_one_is_asked_for_no_more(app_url: str, event_store: PostgresEventStore) -> None:
    async with opened(app_url, totals()) as inline:
        await inline.append(counter("a"), [Counted()], expect=ANY)
        await drop(app_url, totals())
        with pytest.raises(InlineProjectionGone):
            await inline.append(counter("a"), [Counted()], expect=ANY)
    await event_store.append(counter("a"), [Counted()], expect=ANY)


async def test_an_import_is_refused_and_an_archive_comes_back_without_counting_twice(
    store: PostgresEventStore, database_url: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    await store.append(counter("a"), [Counted(), Counted(), Counted()], expect=ANY)
    line = {"event_id": str(uuid4()), "aggregate_type": "counter", "aggregate_id": "b", "event_type": "Counted"}
    data: dict[str, Any] = {"schema_version": 1, "event_data": {"amount": 1}, "metadata": {}}
    with pytest.raises(InlineProjectionMissing):
        await import_events(database_url, [json.dumps(line | data).encode()])

    await archive_streams(database_url, Named([counter("a")]), tmp_path / "archive")
    await restore_streams(database_url, tmp_path / "archive")

    assert await events_stored(store) == 3
    assert await rows(engine) == {"a": 3, "*": 3}


async def test_it_is_listed_and_has_no_pause(store: PostgresEventStore, app_url: str) -> None:
    appended = await store.append(counter("a"), [Counted()], expect=ANY)
    await reached(store, "totals", appended.position, timeout=0.1)
    async with await connect(app_url) as connection:
        assert [(each.name, each.status, each.position) for each in await standings(connection)] == [
            ("totals", "inline", appended.position)
        ]
        with pytest.raises(NoSuchSubscription, match="'totals' is inline"):
            await set_paused(connection, "totals", paused=True)


async def test_whoever_is_given_the_wrong_kind_says_so(app_url: str) -> None:
    with pytest.raises(ConfigurationError, match="it is not inline: declare it with inline=True"):
        async with opened(app_url, totals(inline=False)):
            pass
    with pytest.raises(ConfigurationError, match=r"'totals' is inline: give it to PostgresEventStore\.open"):
        ProjectionRunner(app_url, [totals()])


async def test_connections_that_are_lost_cost_one_failure(
    store: PostgresEventStore, engine: AsyncEngine, database_url: str
) -> None:
    await asyncio.gather(*(store.append(counter(name), [Counted()], expect=ANY) for name in "abcde"))
    async with await connect(database_url) as connection:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    ids, failures = [uuid4()], 0
    while failures < 2:
        try:
            await store.append(counter("f"), [Counted()], expect=ANY, event_ids=ids)
            break
        except StoreUnavailable:
            failures += 1
    assert failures == 1
    await engine.dispose()
    assert (await rows(engine))["*"] == 6

"""Decisions by query on PostgreSQL: two that conflict never both succeed, and those that do not conflict do not wait."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from counteract import Event
from counteract.errors import BoundaryChanged, StoreUnavailable, StreamArchived
from counteract.messages import Dispatch, Role
from counteract.participants.answers import Answer
from counteract.participants.fence import Fence
from counteract.participants.request import Request
from counteract.store import ANY, Appended, PostgresEventStore, Query, Since, StreamChange
from counteract.store.archive.streams import Named, archive_streams, restore_streams
from counteract.store.postgres.append import APPEND_PLACEHOLDERS, append_arguments
from counteract.store.postgres.connect import Connection
from counteract.store.terms import terms_of
from counteract.store.transfer.bulk_import import import_events
from counteract.store.transfer.lines import exported
from tests.counters import Counted, counter
from tests.travel.bank import HoldMoney

pytestmark = pytest.mark.integration

A, B, C = counter("a"), counter("b"), counter("c")
_APPEND = f"select append_events({APPEND_PLACEHOLDERS})"
_ON_TERMS = f"select append_on_terms(%s, {APPEND_PLACEHOLDERS})"


class Taken(Event, tags=lambda event: event.marks):
    marks: tuple[str, ...] = ("x",)


X, Y = Query.of(tags=["x"]), Query.of(tags=["y"])
COUNTED, TAKEN, ANYTHING = Query.of(Counted), Query.of(Taken), Query.of()


@pytest.fixture
async def store(event_store: PostgresEventStore) -> PostgresEventStore:
    return event_store


async def under_way(connection: Connection, *events: Event, stream: str = "b", unless: Since | None = None) -> None:
    """An append in the transaction of the connection, which stays open."""
    arguments = append_arguments([StreamChange(counter(stream), 0, 2**31 - 1, events)], {}).literals
    if unless is None:
        await connection.execute(_APPEND, arguments)
    else:
        await connection.execute(_ON_TERMS, (terms_of(unless, None), *arguments))


async def waits(task: asyncio.Task[Any]) -> bool:
    done, _ = await asyncio.wait([task], timeout=0.3)
    return not done


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize(
    ("event", "query"),
    [
        (Taken(), X),
        (Taken(marks=("y", "x")), Query.of(Taken, tags=["x", "y"])),
        (Taken(), TAKEN),
        (Counted(), COUNTED),
        (Counted(), ANYTHING),
        (Counted(), X | COUNTED),
    ],
)
async def test_it_waits_for_an_append_that_its_query_would_find(
    store: PostgresEventStore, end: str, event: Event, query: Query
) -> None:
    async with store.connection() as other:
        await other.execute("begin")
        await under_way(other, event)
        append = asyncio.create_task(store.append(A, [Taken()], expect=ANY, unless=query.since(0)))
        assert await waits(append)
        await other.execute(end)
    if end == "rollback":
        assert (await append).version == 1
    else:
        with pytest.raises(BoundaryChanged):
            await append


@pytest.mark.parametrize(
    ("mine", "theirs", "query", "other_query"),
    [
        (Taken(), Taken(marks=("y",)), X, Y),
        (Taken(), Counted(), X, Y),
        (Taken(), Taken(marks=("y",)), X, None),
        (Taken(), Counted(), X, None),
    ],
)
async def test_it_does_not_wait_for_appends_that_have_no_tag_of_its_query(
    store: PostgresEventStore, mine: Event, theirs: Event, query: Query, other_query: Query | None
) -> None:
    async with store.connection() as other, other.transaction():
        await under_way(other, theirs, unless=other_query.since(0) if other_query else None)
        async with asyncio.timeout(5):
            assert (await store.append(A, [mine], expect=ANY, unless=query.since(0))).version == 1


async def test_events_of_one_tag_do_not_wait_for_each_other(store: PostgresEventStore) -> None:
    async with store.connection() as other, other.transaction():
        await under_way(other, Taken())
        async with asyncio.timeout(5):
            assert (await store.append(A, [Taken()], expect=ANY)).version == 1


@pytest.mark.parametrize("events", [[Taken()], [Taken(), Counted()], [Counted(), Taken()]])
async def test_a_commands_events_are_found_and_wait_as_well(store: PostgresEventStore, events: list[Event]) -> None:
    command = HoldMoney(account="ann", trip="rome", amount=1)
    about = Dispatch(command_id=uuid4(), saga_id="s", saga_type="Trip", step="x", correlation_id="s", causation_id="r")
    request = Request("HoldMoney", command, about, Role.FORWARD, external=False)
    answer = Answer("done", "null", [StreamChange(A, 0, 0, events)])
    async with store.connection() as other, other.transaction():
        await under_way(other, Counted(), unless=X.since(0))
        recording = asyncio.create_task(Fence(store).record(request, answer))
        assert await waits(recording)
    await recording
    assert [each.event_type for each in (await store.find(X)).events] == ["Taken"]


async def test_an_append_waits_for_a_decision_that_its_event_touches(store: PostgresEventStore) -> None:
    async with store.connection() as other, other.transaction():
        await under_way(other, Counted(), unless=X.since(0))
        append = asyncio.create_task(store.append(A, [Taken()], expect=ANY))
        assert await waits(append)
    assert (await append).position == 2


async def test_nobody_waits_while_a_decision_without_tags_looks(store: PostgresEventStore) -> None:
    async with store.connection() as other:
        await other.execute("begin")
        await under_way(other, Taken(marks=("y",)))
        append = asyncio.create_task(store.append(A, [Counted()], expect=ANY, unless=COUNTED.since(0)))
        assert await waits(append)
        async with asyncio.timeout(5):
            later = await store.append(C, [Counted()], expect=ANY)
        assert not append.done()
        await other.execute("commit")
    # What came after it is none of its concern.
    assert (await append).position < later.position


async def test_decisions_without_tags_take_turns(store: PostgresEventStore) -> None:
    async with store.connection() as other, other.transaction():
        await under_way(other, Counted(), unless=TAKEN.since(0))
        append = asyncio.create_task(store.append(A, [Taken()], expect=ANY, unless=Query.of("Nothing").since(0)))
        assert await waits(append)
    assert (await append).version == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_one_that_was_prepared_meanwhile_is_waited_for(store: PostgresEventStore, end: str) -> None:
    async with store.connection() as other:
        await other.execute("begin")
        await under_way(other, Counted())
        append = asyncio.create_task(store.append(A, [Taken()], expect=ANY, unless=COUNTED.since(0)))
        assert await waits(append)
        await other.execute("prepare transaction 'p'")
        assert await waits(append)
        await other.execute(f"{end} prepared 'p'")
    if end == "rollback":
        assert (await append).version == 1
    else:
        with pytest.raises(BoundaryChanged):
            await append


async def test_two_that_wait_for_each_other_are_told_to_retry(store: PostgresEventStore) -> None:
    async with store.connection() as other:
        await other.execute("begin")
        await under_way(other, Counted())
        append = asyncio.create_task(store.append(A, [Taken()], expect=ANY, unless=TAKEN.since(0)))
        assert await waits(append)
        stuck = asyncio.create_task(under_way(other, Counted(), stream="a"))
        async with asyncio.timeout(3):
            with pytest.raises(StoreUnavailable, match="retry"):
                await append
        await stuck
        await other.execute("rollback")


async def test_it_gives_up_on_one_that_stays_open(store: PostgresEventStore) -> None:
    async with store.connection() as other:
        await other.execute("begin")
        await under_way(other, Counted())
        with pytest.raises(StoreUnavailable, match=r"under way for more than 00:00:05.*retry"):
            await store.append(A, [Taken()], expect=ANY, unless=TAKEN.since(0))
        await other.execute("rollback")
    assert await store.read() == []


async def test_a_refused_append_draws_no_position(store: PostgresEventStore) -> None:
    await store.append(A, [Taken(), Counted()], expect=ANY)
    for query in (X, COUNTED, ANYTHING):
        with pytest.raises(BoundaryChanged):
            await store.append(B, [Taken()], expect=ANY, unless=query.since(0))
    assert (await store.append(B, [Taken()], expect=ANY)).position == 3


async def test_plans_made_while_the_tables_were_empty_stay_on_the_indexes(store: PostgresEventStore) -> None:
    async with store.connection() as connection, connection.transaction():
        await connection.execute("set local plan_cache_mode = force_generic_plan")
        for query in (Query.of(tags=["x", "y"]), X, COUNTED | Query.of(Taken, tags=["z"])):
            await under_way(connection, Taken(marks=("w",)), unless=query.since(0))
        scans = await connection.execute(
            "select relname, seq_scan from pg_stat_xact_user_tables where relname in ('events', 'event_tags') order by 1"
        )
        assert await scans.fetchall() == [("event_tags", 0), ("events", 0)]


async def test_of_what_many_did_at_once_no_decision_overlooked_anything(store: PostgresEventStore) -> None:
    """Each that succeeded had seen all that its query finds before it in the log."""
    queries = [X, Y, Query.of(tags=["x", "y"]), Query.of(Taken, tags=["z"]) | Y, TAKEN, COUNTED, X | COUNTED]
    succeeded: list[tuple[Since, Appended]] = []

    async def work(number: int) -> None:
        chance = Random(number)
        for turn in range(25):
            marks = tuple(mark for mark in "xyz" if chance.random() < 0.4)
            events: list[Event] = [chance.choice([Counted(), Taken(marks=marks), Taken(marks=marks)])]
            stream = counter(f"{number}-{turn % 3}")
            if chance.random() < 0.3:
                await store.append(stream, events * 2, expect=ANY)
                continue
            since = (await store.find(chance.choice(queries))).since
            with suppress(BoundaryChanged):
                succeeded.append((since, await store.append(stream, events * 2, expect=ANY, unless=since)))

    await asyncio.gather(*(work(number) for number in range(10)))
    log = await store.read(limit=10_000)
    assert len(succeeded) > 20
    for since, appended in succeeded:
        last = appended.positions[-1]
        between = [e for e in log if since.position < e.position < last and e.position not in appended.positions]
        assert [each.position for each in between if since.query.finds(each)] == []


@pytest.fixture
async def archived(store: PostgresEventStore, database_url: str, tmp_path: Path) -> Path:
    await store.append(A, [Taken(), Counted()], expect=ANY)
    file = tmp_path / "old.jsonl.gz"
    await archive_streams(database_url, Named([A]), file)
    return file


async def test_an_archived_event_still_stands_in_the_way(store: PostgresEventStore, archived: Path) -> None:
    with pytest.raises(BoundaryChanged):
        await store.append(B, [Taken()], expect=ANY, unless=X.since(0))


async def test_who_needs_an_archived_event_to_decide_is_told_where_it_is(
    store: PostgresEventStore, database_url: str, archived: Path
) -> None:
    with pytest.raises(StreamArchived, match=r"old\.jsonl\.gz"):
        await store.find(X)
    await restore_streams(database_url, archived)
    assert [each.position for each in (await store.find(X)).events] == [1]


async def test_an_import_brings_tags_along(store: PostgresEventStore, database_url: str) -> None:
    await store.append(A, [Taken(), Taken(marks=("y",))], expect=ANY)
    lines = [text for page in [page async for page in exported(store)] for text in page]
    others = [json.loads(text) | {"event_id": str(uuid4()), "aggregate_id": "b"} for text in lines]
    await import_events(database_url, [json.dumps(each).encode() for each in others])
    assert [each.stream for each in (await store.find(Y)).events] == [A, B]


async def test_a_decision_by_tags_waits_for_an_import_of_tagged_events(
    store: PostgresEventStore, database_url: str
) -> None:
    async with store.connection() as other, other.transaction():
        await other.execute("select pg_advisory_xact_lock(hashtextextended('$import', 0))")
        append = asyncio.create_task(store.append(A, [Counted()], expect=ANY, unless=X.since(0)))
        assert await waits(append)
        assert (await store.append(B, [Taken(), Counted()], expect=ANY)).version == 2
    with pytest.raises(BoundaryChanged):
        await append

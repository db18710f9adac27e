"""PostgreSQL comes back without its last commits, or a copy of it takes over: nobody goes on from what is not in the log any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract import Decider, Event, Rejected
from counteract.dev import EmbeddedPostgres
from counteract.errors import EventIdReused, SchemaOutdated, StoreUnavailable
from counteract.store import ANY, Appended, Decided, PostgresEventStore, Query, StoredEvent, decide, decide_where
from counteract.store.checks.doctor import diagnose
from counteract.store.postgres.connect import connect
from counteract.store.postgres.migrate import check_schema, migrate
from counteract.store.postgres.restored import restored
from counteract.subscriptions import Subscriber, Subscription
from tests.counters import Counted, counter, counters

pytestmark = pytest.mark.integration

PATIENCE = 60.0

Send = Callable[[], Awaitable[Appended]]


class Named(Event, tags=lambda event: [f"name:{event.name}"]):
    """Somebody has a name, and nobody else has it then."""

    name: str


names: Decider[int, Named] = Decider("lost-name", initial=0, evolve=lambda taken, _: taken + 1, events=Named)


async def append(store: PostgresEventStore, name: str, amount: int) -> Appended:
    """Again where a connection of before the failover is met."""
    for _ in range(10):
        with suppress(StoreUnavailable):
            return await store.append(counter(name), [Counted(amount=amount)], expect=ANY)
    pytest.fail("the server does not come back")


async def balance(store: PostgresEventStore, name: str) -> tuple[int, int]:
    for _ in range(10):
        with suppress(StoreUnavailable):
            loaded = await store.load(counters, name)
            return loaded.state, loaded.version
    pytest.fail("the server does not come back")


async def eventually(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < deadline
        await asyncio.sleep(0.05)


async def copied(url: str, *statements: str) -> None:
    """As a copy that has not all: the rows are changed past the triggers that keep them."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in (
            "alter table events disable trigger user",
            *statements,
            "alter table events enable always trigger events_append_only",
        ):
            await connection.execute(statement.encode())


async def test_a_running_process_does_not_decide_on_a_state_that_was_lost(server: EmbeddedPostgres) -> None:
    async with PostgresEventStore.open(server.app_url, pool_size=2) as store:
        await append(store, "ann", 10)
        copy = await server.back_up()
        await append(store, "ann", 1000)
        assert await balance(store, "ann") == (1010, 2)
        await server.put_back(copy)
        async with PostgresEventStore.open(server.app_url) as other:
            await append(other, "ann", 1)
        assert await balance(store, "ann") == (11, 2)


async def test_a_state_of_another_log_is_not_gone_on_from_though_the_server_went_on_all_the_time(
    app_url: str, database_url: str
) -> None:
    async with PostgresEventStore.open(app_url) as store:
        for amount in (10, 1000):
            await append(store, "ann", amount)
        assert await balance(store, "ann") == (1010, 2)
        await copied(database_url, "delete from events where version = 2")
        assert await balance(store, "ann") == (10, 1)
        await append(store, "ann", 1)
        assert await balance(store, "ann") == (11, 2)
        decided: Decided[int] = await decide(store, counters, "ann", lambda total: [Counted(amount=-total)])
        assert decided.state == 0


def at_each_append(
    monkeypatch: pytest.MonkeyPatch, store: PostgresEventStore, *acts: Callable[[Send], Awaitable[Appended]]
) -> None:
    """What happens to the first appends; the others go their way."""
    whole, left = store.append, list(acts)

    async def append(*given: Any, **options: Any) -> Appended:
        send = partial(whole, *given, **options)
        return await (left.pop(0)(send) if left else send())

    monkeypatch.setattr(store, "append", append)


def withdraw_all(total: int) -> list[Counted]:
    return [Counted(amount=-total)]


def deposit_five(_: int) -> list[Counted]:
    return [Counted(amount=5)]


async def test_a_decision_that_a_failover_kept_from_the_store_is_made_anew_of_what_is_there(
    app_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails_over(_: Send) -> Appended:
        await copied(database_url, "delete from events where version = 2")
        async with PostgresEventStore.open(app_url) as other:
            await append(other, "ann", 1)
        raise StoreUnavailable("the connection was lost")

    async with PostgresEventStore.open(app_url) as store:
        for amount in (10, 1000):
            await append(store, "ann", amount)
        at_each_append(monkeypatch, store, fails_over)
        decided: Decided[int] = await decide(store, counters, "ann", withdraw_all)
        assert (decided.state, decided.version) == (0, 3)
        assert await balance(store, "ann") == (0, 3)


async def test_a_name_that_was_taken_below_the_position_of_a_search_before_a_failover_is_not_given_again(
    app_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails_over(_: Send) -> Appended:
        await copied(database_url, "delete from events where position > 1", "select setval('events_position_seq', 1)")
        async with PostgresEventStore.open(app_url) as other:
            await other.append(names.stream("other"), [Named(name="ann")], expect=ANY)
        raise StoreUnavailable("the connection was lost")

    def claim(taken: int) -> list[Named]:
        if taken:
            raise Rejected("the name is taken")
        return [Named(name="ann")]

    query = Query.of(Named, tags=["name:ann"])
    async with PostgresEventStore.open(app_url) as store:
        for _ in range(5):
            await append(store, "ann", 1)
        at_each_append(monkeypatch, store, fails_over)
        with pytest.raises(Rejected, match="is taken"):
            await decide_where(store, query, names, names.stream("own"), claim)
        assert [event.stream for event in (await store.find(query)).events] == [names.stream("other")]


async def test_a_decision_whose_answer_alone_was_lost_is_not_made_again(
    app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def loses_the_answer(send: Send) -> Appended:
        await send()
        raise StoreUnavailable("the connection was lost")

    async with PostgresEventStore.open(app_url) as store:
        await append(store, "ann", 10)
        at_each_append(monkeypatch, store, loses_the_answer)
        decided: Decided[int] = await decide(store, counters, "ann", deposit_five)
        assert (decided.state, decided.version) == (15, 2)
        assert await balance(store, "ann") == (15, 2)


@pytest.mark.parametrize("place", ["before it is asked for", "before the next one", "after the next one"])
async def test_what_was_sent_without_an_answer_takes_effect_once_whenever_the_server_comes_by_it(
    app_url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    late: list[Send] = []

    async def is_lost(send: Send) -> Appended:
        late.append(send)
        raise StoreUnavailable("the connection was lost")

    async def goes_by(send: Send) -> Appended:
        return await send()

    async def is_overtaken(send: Send) -> Appended:
        await late[0]()
        return await send()

    async def overtakes(send: Send) -> Appended:
        answer = await send()
        await late[0]()
        return answer

    acts = {
        "before it is asked for": [is_overtaken],
        "before the next one": [goes_by, is_overtaken],
        "after the next one": [goes_by, overtakes],
    }
    async with PostgresEventStore.open(app_url) as store:
        await append(store, "ann", 10)
        at_each_append(monkeypatch, store, is_lost, *acts[place])
        decided: Decided[int] = await decide(store, counters, "ann", deposit_five)
        assert (decided.state, decided.version) == (15, 2)
        assert await balance(store, "ann") == (15, 2)


async def test_what_was_sent_before_a_failover_and_comes_after_it_takes_no_effect_beside_the_next_one(
    app_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pooler may do it, which keeps a request until there is a server for it again."""
    late: list[Send] = []

    async def fails_over(send: Send) -> Appended:
        late.append(send)
        await copied(database_url, "delete from events where version = 2")
        raise StoreUnavailable("the connection was lost")

    async with PostgresEventStore.open(app_url) as store:
        for amount in (10, 1000):
            await append(store, "ann", amount)
        at_each_append(monkeypatch, store, fails_over)
        decided: Decided[int] = await decide(store, counters, "ann", withdraw_all)
        assert (decided.state, decided.version) == (0, 2)
        with pytest.raises(EventIdReused):
            await late[0]()
        assert await balance(store, "ann") == (0, 2)


async def test_a_snapshot_that_is_ahead_of_the_log_is_left_aside(app_url: str, database_url: str) -> None:
    async with PostgresEventStore.open(app_url, snapshot_every=1) as store:
        for amount in (10, 1000):
            await append(store, "ann", amount)
            await store.load(counters, "ann")
    await copied(database_url, "delete from events where version = 2")
    async with PostgresEventStore.open(app_url, snapshot_every=1) as store:
        assert await balance(store, "ann") == (10, 1)


class Listener(Subscriber):
    name = "listener"

    def __init__(self) -> None:
        self.heard: list[int] = []

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        self.heard += [event.position for event in events]


async def test_a_reader_ahead_of_the_log_refuses_until_the_store_was_told_of_the_restore(
    app_url: str, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    async with PostgresEventStore.open(app_url) as store:
        await append(store, "ann", 1)
        await copied(
            database_url,
            "insert into subscriptions (name, position) values ('listener', 40)",
            "insert into snapshots "
            "(aggregate_type, aggregate_id, fingerprint, version, state) values ('counter', 'ann', 'x', 9, '9')",
        )
        running = asyncio.create_task(Subscription(app_url, listener).run())
        await eventually(lambda: "commits were lost" in caplog.text)
        assert "counteract store restored" in caplog.text
        found = {each.check: each async for each in diagnose(app_url, patience=0.2)}
        assert "subscription listener has come to position 40" in found["sequence"].what
        done = await restored(database_url)
        assert [each.name for each in done.ahead] == ["listener"]
        assert (await append(store, "ann", 1)).position > done.after >= 40
        await eventually(lambda: bool(listener.heard))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        async with store.connection() as connection:
            assert await (await connection.execute("select count(*) from snapshots")).fetchone() == (0,)


async def test_a_sequence_that_was_left_behind_by_its_log_is_found_and_brought_forward(
    app_url: str, database_url: str
) -> None:
    async with PostgresEventStore.open(app_url) as store:
        for _ in range(5):
            await append(store, "ann", 1)
        await copied(database_url, "alter sequence events_position_seq restart")
        with pytest.raises(SchemaOutdated, match=r"behind the log.*counteract migrate"):
            await store.append(counter("ann"), [Counted()], expect=ANY)
    with pytest.raises(SchemaOutdated, match=r"at 1, behind the log, which is at 5.*counteract migrate"):
        async with PostgresEventStore.open(app_url):
            pass
    with pytest.raises(SchemaOutdated, match="behind the log"):
        check_schema(app_url)
    found = {each.check: each async for each in diagnose(app_url, patience=0.2)}
    assert "counteract migrate" in found["sequence"].remedy
    await asyncio.to_thread(migrate, database_url)
    async with PostgresEventStore.open(app_url) as store:
        assert (await append(store, "ann", 1)).position == 6
        assert [event.position for event in await store.read()] == [1, 2, 3, 4, 5, 6]


async def test_migrating_leaves_a_sequence_that_is_ahead_where_it_is(app_url: str, database_url: str) -> None:
    async with PostgresEventStore.open(app_url) as store:
        await append(store, "ann", 1)
        async with await connect(database_url) as connection:
            await connection.execute("select setval('events_position_seq', 100)")
        await asyncio.to_thread(migrate, database_url)
        assert (await append(store, "ann", 1)).position == 101

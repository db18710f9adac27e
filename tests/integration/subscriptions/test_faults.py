"""Whose fault it is: an event's, and it is set aside; or the set-up's, or an old release's, and the subscription waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Text, select
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Decider, Event
from counteract.projections import Increment, Projection
from counteract.projections.runner import ProjectionSubscriber
from counteract.store import ANY, MasterKey, PostgresEventStore
from counteract.store.postgres.connect import connect
from counteract.subscriptions import Subscription, reached
from counteract.subscriptions.parked import ParkedStream, discard, parked_streams, redrive
from tests.customers import MASTER_KEY, Registered, Upgraded, register

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 60.0


class Old(Event, name="Weighed"):
    grams: int


class WithAField(Event, name="Weighed"):
    grams: int
    scale: str | None = None


class Two(Event, name="Weighed", version=2, upcasters={1: lambda data: {"kilos": data["grams"] / 1000}}):
    kilos: float


class Emptied(Event):
    pass


pantry: Decider[int, Old] = Decider("pantry", initial=0, evolve=lambda total, event: total + event.grams, events=Old)


def counting(
    *classes: type[Event], name: str = "weights", fails: Callable[[Any], bool] = lambda _: False
) -> Projection:
    projection = Projection(
        name, Column("id", Text, primary_key=True), Column("n", BigInteger, nullable=False, default=0)
    )
    projection.ignores(Upgraded)

    def count(recorded: Any) -> Increment:
        if fails(recorded):
            raise ValueError("not this one")
        return Increment(recorded.stream.aggregate_id, "n", 1)

    for each in classes:
        projection.on(each)(count)
    return projection


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(app_url, master_key=MASTER_KEY) as store:
        yield store


@asynccontextmanager
async def running(
    url: str, projection: Projection, *, master_key: MasterKey | None = MASTER_KEY
) -> AsyncIterator[None]:
    subscriber = ProjectionSubscriber(projection)
    subscription = Subscription(url, subscriber, lease=1.0, attempts=2, master_key=master_key)
    task = asyncio.create_task(subscription.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def owners(url: str, *statements: str) -> None:
    async with await connect(url) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


async def parked(store: PostgresEventStore) -> Sequence[ParkedStream]:
    async with store.connection() as connection:
        return await parked_streams(connection)


async def counted(engine: AsyncEngine, projection: Projection) -> dict[str, int]:
    async with engine.connect() as connection:
        rows = (await connection.execute(select(projection.table))).all()
    return {row.id: row.n for row in rows}


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = monotonic() + PATIENCE
    while not await holds():
        assert monotonic() < deadline
        await asyncio.sleep(0.05)


async def says(log: pytest.LogCaptureFixture, words: str) -> None:
    async def said() -> bool:
        return words in log.text

    await eventually(said)


async def weigh(store: PostgresEventStore, *names: str, event: Event | None = None) -> int:
    return [await store.append(pantry.stream(name), [event or Old(grams=1)], expect=ANY) for name in names][-1].position


async def test_an_event_whose_key_is_gone_stops_its_own_stream_only_and_can_be_discarded(
    store: PostgresEventStore, app_url: str, database_url: str, engine: AsyncEngine
) -> None:
    projection = counting(Registered)
    await register(store, "ann")
    await register(store, "bob")
    await owners(database_url, "delete from personal_keys where subject = 'ann'")
    async with running(app_url, projection):
        last = await register(store, "carl")
        await reached(store, "weights", last, timeout=PATIENCE)
        (ann,) = await parked(store)
        assert (str(ann.stream), ann.position) == ("customer/ann", 1)
        assert "personal_keys" in (ann.error or "")
        await register(store, "ann")
        last = await register(store, "dora")
        await reached(store, "weights", last, timeout=PATIENCE)
        async with store.connection() as connection:
            await discard(connection, "weights", 1, why="her key was lost")
            await redrive(connection, "weights")

        async def is_through() -> bool:
            return not await parked(store)

        await eventually(is_through)
    assert await counted(engine, projection) == {"ann": 1, "bob": 1, "carl": 1, "dora": 1}


async def test_a_process_without_a_master_key_waits_and_parks_nothing(
    store: PostgresEventStore,
    app_url: str,
    engine: AsyncEngine,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    projection = counting(Registered)
    last = await register(store)
    with monkeypatch.context() as without:
        without.delenv("COUNTERACT_MASTER_KEY", raising=False)
        async with running(app_url, projection, master_key=None):
            await says(caplog, "waits for this to be put right: personal data needs COUNTERACT_MASTER_KEY")
    assert await parked(store) == []
    async with running(app_url, projection):
        await reached(store, "weights", last, timeout=PATIENCE)
    assert await counted(engine, projection) == {"ann": 1}


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        (
            "revoke insert on counteract_app.weights from counteract_app",
            "grant insert on counteract_app.weights to counteract_app",
        ),
        ("alter table counteract_app.weights rename n to m", "alter table counteract_app.weights rename m to n"),
        (
            "create trigger no before insert on counteract_app.weights for each row execute function refuse_all()",
            "drop trigger no on counteract_app.weights",
        ),
    ],
    ids=["a right is missing", "a column was renamed", "a trigger fails"],
)
async def test_a_fault_of_the_set_up_is_waited_for_and_parks_nothing(
    store: PostgresEventStore,
    app_url: str,
    database_url: str,
    engine: AsyncEngine,
    caplog: pytest.LogCaptureFixture,
    broken: str,
    mended: str,
) -> None:
    projection = counting(Old)
    await owners(
        database_url,
        "create function refuse_all() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$",
    )
    async with running(app_url, projection):
        await reached(store, "weights", await weigh(store, "a"), timeout=PATIENCE)
        await owners(database_url, broken)
        last = await weigh(store, "b", "c", "d")
        await says(caplog, "waits for this to be put right")
        await asyncio.sleep(1)
        assert await parked(store) == []
        await owners(database_url, mended)
        await reached(store, "weights", last, timeout=PATIENCE)
    assert await parked(store) == []
    assert await counted(engine, projection) == {"a": 1, "b": 1, "c": 1, "d": 1}


async def test_where_one_of_several_streams_is_handled_the_others_are_to_blame_for_themselves(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    projection = counting(Old, fails=lambda recorded: recorded.stream.aggregate_id in "bd")
    last = await weigh(store, "a", "b", "c", "d")
    async with running(app_url, projection):
        await reached(store, "weights", last, timeout=PATIENCE)
    assert [each.stream.aggregate_id for each in await parked(store)] == ["b", "d"]
    assert await counted(engine, projection) == {"a": 1, "c": 1}


async def test_what_was_parked_under_other_code_is_redriven_by_itself(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    last = await weigh(store, "a", "b")
    async with running(app_url, counting(Old, fails=lambda recorded: recorded.stream.aggregate_id == "b")):
        await reached(store, "weights", last, timeout=PATIENCE)
    assert len(await parked(store)) == 1
    await weigh(store, "b")

    async def is_through() -> bool:
        return not await parked(store) and await counted(engine, projection) == {"a": 1, "b": 2}

    projection = counting(Old)
    async with running(app_url, projection):
        await eventually(is_through)


@pytest.mark.parametrize(
    ("newer", "event"),
    [([WithAField], WithAField(grams=1, scale="left")), ([Two], Two(kilos=1)), ([Old, Emptied], Emptied())],
    ids=["a field with a default", "version 2", "a new type"],
)
async def test_the_old_release_waits_for_what_only_the_new_one_can_read(
    store: PostgresEventStore,
    app_url: str,
    engine: AsyncEngine,
    caplog: pytest.LogCaptureFixture,
    newer: list[type[Event]],
    event: Event,
) -> None:
    async with running(app_url, counting(Old)):
        before = await weigh(store, "a", "b")
        await reached(store, "weights", before, timeout=PATIENCE)
        good = await weigh(store, "c")
        last = await weigh(store, "a", "b", event=event)
        await says(caplog, "waits for a release that can read it")
        await reached(store, "weights", good, timeout=PATIENCE)
    assert await parked(store) == []
    projection = counting(*newer)
    async with running(app_url, projection):
        await reached(store, "weights", last, timeout=PATIENCE)
    assert await counted(engine, projection) == {"a": 2, "b": 2, "c": 1}


async def test_a_name_that_no_class_has_any_more_can_be_passed_by(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    projection = counting(Old)
    projection.ignores("Emptied")
    last = await weigh(store, "a", event=Emptied())
    async with running(app_url, projection):
        await reached(store, "weights", last, timeout=PATIENCE)
    assert await counted(engine, projection) == {}

"""Events are told apart by their aggregate and their name, and a class that was renamed is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Column, Text, select
from sqlalchemy.pool import NullPool

from counteract import Decider, Event
from counteract.errors import ConfigurationError
from counteract.messages import Recorded
from counteract.projections import Projection, ProjectionRunner, Put
from counteract.projections.rebuild import rebuild
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.connect import async_engine

pytestmark = pytest.mark.integration


class OrderOpened(Event, name="Opened"):
    label: str


class TillOpened(Event, name="Opened"):
    clerk: str


class Shipped(Event):
    label: str


class Sent(Event):
    """What Shipped is called now."""

    label: str


def last(state: Event | None, event: Event) -> Event | None:
    return event


orders = Decider("order", initial=None, evolve=last, events=OrderOpened)
tills = Decider("till", initial=None, evolve=last, events=TillOpened)
parcels = Decider("parcel", initial=None, evolve=last, events=Shipped)
parcels_today = Decider("parcel", initial=None, evolve=last, events=Sent)


def labels(*classes: type[OrderOpened] | type[Shipped] | type[Sent], inline: bool = False) -> Projection:
    projection = Projection("labels", Column("id", Text, primary_key=True), Column("label", Text), inline=inline)
    for each in classes:

        @projection.on(each)
        def labelled(recorded: Recorded[OrderOpened | Shipped | Sent]) -> Put:
            return Put(recorded.stream.aggregate_id, {"label": recorded.event.label})

    return projection


async def rows(url: str) -> list[tuple[str, str]]:
    async with async_engine(url, poolclass=NullPool).connect() as connection:
        return [tuple(row) for row in await connection.execute(select(labels().table).order_by("id"))]


@asynccontextmanager
async def running(url: str, projection: Projection) -> AsyncIterator[ProjectionRunner]:
    runner = ProjectionRunner(url, [projection])
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_projection_takes_no_event_of_another_aggregate_that_has_the_same_name(app_url: str) -> None:
    async with PostgresEventStore.open(app_url) as store, running(app_url, labels(OrderOpened)) as runner:
        await store.append(orders.stream("o-1"), [OrderOpened(label="tea")], expect=ANY)
        done = await store.append(tills.stream("t-1"), [TillOpened(clerk="Ann")], expect=ANY)
        await runner.reached(done.position)
        async with store.connection() as connection:
            assert (await connection.execute("select from parked_events")).rowcount == 0
    assert await rows(app_url) == [("o-1", "tea")]


async def test_a_projection_of_both_tells_them_apart(app_url: str) -> None:
    projection = labels(OrderOpened)

    @projection.on(TillOpened)
    def opened(recorded: Recorded[TillOpened]) -> Put:
        return Put(recorded.stream.aggregate_id, {"label": recorded.event.clerk})

    async with PostgresEventStore.open(app_url) as store, running(app_url, projection) as runner:
        await store.append(orders.stream("o-1"), [OrderOpened(label="tea")], expect=ANY)
        done = await store.append(tills.stream("t-1"), [TillOpened(clerk="Ann")], expect=ANY)
        await runner.reached(done.position)
    assert await rows(app_url) == [("o-1", "tea"), ("t-1", "Ann")]


async def test_an_inline_projection_takes_none_either(app_url: str) -> None:
    async with PostgresEventStore.open(app_url, inline=[labels(OrderOpened, inline=True)]) as store:
        await store.append(orders.stream("o-1"), [OrderOpened(label="tea")], expect=ANY)
        await store.append(tills.stream("t-1"), [TillOpened(clerk="Ann")], expect=ANY)
    assert await rows(app_url) == [("o-1", "tea")]


@pytest.fixture
async def with_a_parcel(app_url: str) -> str:
    async with PostgresEventStore.open(app_url) as store, running(app_url, labels(Shipped)) as runner:
        done = await store.append(parcels.stream("p-1"), [Shipped(label="tea")], expect=ANY)
        await runner.reached(done.position)
    return app_url


async def test_a_rebuild_after_a_class_was_renamed_says_so_and_leaves_the_rows(with_a_parcel: str) -> None:
    with pytest.raises(ConfigurationError, match=r'Sent was never stored, but Shipped is.*name="Shipped"'):
        await rebuild(with_a_parcel, labels(Sent))
    assert await rows(with_a_parcel) == [("p-1", "tea")]


async def test_a_new_event_beside_one_that_is_given_up_is_no_renaming(with_a_parcel: str) -> None:
    projection = labels(Sent)
    projection.ignores("Shipped")
    await rebuild(with_a_parcel, projection)
    assert await rows(with_a_parcel) == []

"""What a sink makes of batches that come again, in other parts, late, and from two processes at once."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import JSON, BigInteger, Boolean, Column, DateTime, Numeric, Text, Uuid

from counteract.errors import ConfigurationError
from counteract.projections import Delete, Increment, Operation, Patch, Projection, Put
from counteract.projections.sinks import (
    OpenSearchIndex,
    Positioned,
    RedisHashes,
    RowRefused,
    Shown,
    Sink,
    SinkUnavailable,
)
from tests.integration.projections.sink_places import KINDS, InOpenSearch, InRedis, Place, opened, place_of

pytestmark = [pytest.mark.integration, pytest.mark.readside]

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=KINDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place_of(request.param) as place:
        yield place


@pytest.fixture(scope="module")
async def redis() -> AsyncIterator[InRedis]:
    async with InRedis.open(forgetful=True) as place:
        yield place


@pytest.fixture(scope="module")
async def search() -> AsyncIterator[InOpenSearch]:
    async with InOpenSearch.open() as place:
        yield place


@pytest.fixture
def name() -> str:
    return f"rows-{next(_numbers)}"


def many(name: str) -> Projection:
    return Projection(
        name,
        Column("left", Text, primary_key=True),
        Column("right", BigInteger, primary_key=True),
        Column("name", Text),
        Column("count", BigInteger, nullable=False, default=3),
        Column("sum", BigInteger),
    )


def any_operation(chance: random.Random) -> Operation:
    key = (chance.choice("ab"), chance.randint(1, 2))
    row = {"name": chance.choice("xyz"), "count": chance.randint(0, 9), "sum": chance.choice([None, 1, 2])}
    some = dict(chance.sample(sorted(row.items()), chance.randint(1, 3)))
    operations: list[Operation] = [
        Put(key, some),
        Delete(key),
        Patch(key, {"name": row["name"]}),
        Increment(key, "count", chance.randint(-3, 3)),
        Increment(key, "sum"),
    ]
    # What begins a row anew would hide whatever went wrong before.
    return chance.choices(operations, [1, 1, 10, 30, 30])[0]


def folded(operations: Sequence[Operation]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for operation in operations:
        left, right = operation.key
        new = {"left": left, "right": right, "name": None, "count": 3, "sum": None}
        row = rows.setdefault(f"{left}:{right}", {})
        match operation:
            case Put(_, fields):
                row |= {**new, **fields}
            case Patch(_, fields) if row:
                row |= fields
            case Delete():
                row.clear()
            case Increment(_, field, by):
                row |= {**new, **row}
                row[field] = (row[field] or 0) + by
    return {key: row for key, row in rows.items() if row}


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_again_and_from_whom_the_rows_are_those_of_each_operation_once(
    place: Place, name: str, seed: int
) -> None:
    chance, projection = random.Random(seed), many(name)
    # An event has any number of operations, and so have positions.
    log = [
        Positioned(position, any_operation(chance))
        for position in range(1, 121)
        for _ in range(chance.choice([0, 1, 1, 2]))
    ]

    async def writer(chance: random.Random) -> None:
        async with opened(place.sink(name)) as sink:
            await sink.prepare(projection.layout, "code")
            done = 0
            while done < 120:
                end = min(done + chance.randint(1, 25), 120)
                await sink.write([each for each in log if done < each.position <= end], up_to=Shown(end))
                await asyncio.sleep(chance.random() * 0.01)
                # Killed before its checkpoint was committed, perhaps: then the batch comes again, with another end.
                done = done if chance.random() < 0.4 else end

    async with asyncio.TaskGroup() as writers:
        for number in range(2):
            writers.create_task(writer(random.Random(f"{seed}/{number}")))
    assert await place.rows(projection, name) == folded([each.operation for each in log])


async def test_what_comes_late_does_not_bring_back_a_row_that_was_deleted(place: Place, name: str) -> None:
    projection = many(name)
    first = [Positioned(1, Put(("a", 1), {})), Positioned(2, Increment(("a", 1), "count"))]
    async with opened(place.sink(name)) as zombie, opened(place.sink(name)) as sink:
        await zombie.prepare(projection.layout, "code")
        await sink.prepare(projection.layout, "code")
        await sink.write([*first, Positioned(3, Delete(("a", 1)))], up_to=Shown(3))
        await zombie.write(first, up_to=Shown(2))
        assert await place.rows(projection, name) == {}
        await sink.write([Positioned(4, Increment(("a", 1), "count"))], up_to=Shown(4))
    assert await place.rows(projection, name) == folded([Increment(("a", 1), "count")])


async def test_values_of_all_types_come_back_as_they_were(place: Place, name: str) -> None:
    projection = Projection(
        name,
        Column("id", Uuid, primary_key=True),
        Column("price", Numeric, default=Decimal(0)),
        Column("at", DateTime(timezone=True)),
        Column("open", Boolean),
        Column("more", JSON),
        Column("title", Text),
    )
    key = UUID(int=7)
    row = {
        "price": Decimal("0.10"),
        "at": datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
        "open": True,
        "more": {"of": [1, None, "three"]},
        "title": 'a "quoted" ünïcode : title',
    }
    async with opened(place.sink(name)) as sink:
        await sink.prepare(projection.layout, "code")
        await sink.write(
            [Positioned(1, Put(key, row)), Positioned(2, Increment(key, "price", Decimal("0.20")))], up_to=Shown(2)
        )
    assert await place.rows(projection, name) == {str(key): {"id": key, **row, "price": Decimal("0.30")}}


async def test_a_row_is_read_by_its_key(redis: InRedis, search: InOpenSearch, name: str) -> None:
    projection = many(name)
    for sink in (redis.sink(name), search.sink(name)):
        async with opened(sink):
            await sink.prepare(projection.layout, "code")
            await sink.write([Positioned(1, Put(("a:b", 1), {"name": "x"}))], up_to=Shown(1))
            row = {"left": "a:b", "right": 1, "name": "x", "count": 3, "sum": None}
            assert await sink.read(projection, ("a:b", 1)) == row
            assert await sink.read(projection, ("a", 1)) is None


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_a_client_of_the_applications_own_is_used_and_stays_open(
    redis: InRedis, name: str, decode_responses: bool
) -> None:
    async with Redis.from_url(redis.url, decode_responses=decode_responses) as client:
        sink = RedisHashes(client, prefix=f"{name}:")
        await sink.prepare(many(name).layout, "code")
        await sink.write([Positioned(1, Increment(("a", 1), "count"))], up_to=Shown(1))
        await sink.write_late([Positioned(1, Patch(("a", 1), {"name": "x"}))])
        await sink.close()
        row = await sink.read(many(name), ("a", 1))
    assert row == {"left": "a", "right": 1, "name": "x", "count": 4, "sum": None}


async def test_the_rows_of_two_projections_are_not_mixed(place: Place, name: str) -> None:
    async with opened(place.sink(name)) as first, opened(place.sink(name)) as second:
        await first.prepare(many(name).layout, "code")
        with pytest.raises(ConfigurationError, match=f"is that of '{name}': give each projection one of its own"):
            await second.prepare(many("another").layout, "code")


async def test_a_late_event_that_comes_once_more_in_its_turn_counts_once(redis: InRedis, name: str) -> None:
    projection, key = many(name), ("a", 1)
    async with opened(redis.sink(name)) as sink:
        await sink.prepare(projection.layout, "code")
        await sink.write([Positioned(1, Put(key, {"count": 0}))], up_to=Shown(1))
        for _ in range(2):
            await sink.write_late([Positioned(5, Increment(key, "count", 50))])
        later = [Positioned(3, Increment(key, "count", 3)), Positioned(5, Increment(key, "count", 50))]
        await sink.write(later, up_to=Shown(5))
        await sink.write([Positioned(7, Increment(key, "count", 700))], up_to=Shown(7))
    assert (await redis.rows(projection, name))["a:1"]["count"] == 753


async def test_what_is_erased_is_gone_and_nothing_else(redis: InRedis, name: str) -> None:
    async with opened(redis.sink(name)) as sink, opened(redis.sink(f"{name}*")) as like_it:
        for each in (sink, like_it):
            await each.prepare(many(name).layout, "code")
            await each.write([Positioned(1, Put(("a", 1), {}))], up_to=Shown(1))
        await like_it.erase()
        assert {key for key in await redis.keys() if key.startswith(name)} == {f"{name}:a:1", f"{name}:@counteract"}
        await sink.erase()
    assert not {key for key in await redis.keys() if key.startswith(name)}


async def test_a_writer_from_before_the_rows_were_erased_is_refused(redis: InRedis, name: str) -> None:
    layout = many(name).layout
    async with opened(redis.sink(name)) as zombie, opened(redis.sink(name)) as sink:
        await zombie.prepare(layout, "code")
        await sink.erase()
        await sink.prepare(layout, "code")
        with pytest.raises(SinkUnavailable, match="lost rows"):
            await zombie.write([Positioned(1, Put(("a", 1), {}))], up_to=Shown(1))


async def test_a_row_that_does_not_fit_its_index_is_refused_without_its_value(search: InOpenSearch, name: str) -> None:
    projection = Projection(name, Column("id", Text, primary_key=True), Column("count", Text))
    sink = search.sink(name)
    sink._fields = {"count": {"type": "long"}}
    async with opened(sink):
        await sink.prepare(projection.layout, "code")
        with pytest.raises(RowRefused, match="for the field 'count', which is long") as refused:
            await sink.write([Positioned(1, Put("a", {"count": "secret"}))], up_to=Shown(1))
    assert "secret" not in str(refused.value)


async def test_an_index_that_lacks_a_column_is_refused(search: InOpenSearch, name: str) -> None:
    few = Projection(name, Column("id", Text, primary_key=True))
    more = Projection(name, Column("id", Text, primary_key=True), Column("title", Text))
    async with opened(search.sink(name)) as sink:
        await sink.prepare(few.layout, "code")
        with pytest.raises(ConfigurationError, match="has no field title: fill another one, under a second name"):
            await sink.prepare(more.layout, "code")


async def test_that_other_code_made_the_rows_is_said_once(
    place: Place, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    layout = many(name).layout
    for code in ("old", "old", "new"):
        async with opened(place.sink(name)) as sink:
            for _ in range(2):
                await sink.prepare(layout, code)
    (said,) = [each.getMessage() for each in caplog.records if "its code has changed" in each.getMessage()]
    assert f"`counteract projections drop {name}`" in said


@pytest.mark.parametrize(
    ("module", "sink", "extra"),
    [
        ("redis.asyncio", RedisHashes("redis://nowhere", prefix="x:"), "redis"),
        ("opensearchpy", OpenSearchIndex("http://nowhere", name="x"), "opensearch"),
    ],
)
async def test_a_client_that_is_not_installed_is_named_with_its_extra(
    module: str, sink: Sink, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'counteract\[{extra}\]'"):
        await sink.prepare(many("rows").layout, "code")


@pytest.mark.parametrize("key", ["@counteract", "@counteract:late"])
async def test_a_row_of_the_key_that_redis_own_record_has_is_refused(redis: InRedis, name: str, key: str) -> None:
    projection = Projection(name, Column("id", Text, primary_key=True))
    async with opened(redis.sink(name)) as sink:
        await sink.prepare(projection.layout, "code")
        with pytest.raises(RowRefused, match="no row can have it"):
            await sink.write([Positioned(1, Put(key, {}))], up_to=Shown(1))
        await sink.write([Positioned(2, Put("a", {}))], up_to=Shown(2))
        assert await sink.prepare(projection.layout, "code") == Shown(2)

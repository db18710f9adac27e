"""Projections whose rows are in Redis or OpenSearch, from the events to the rows, while servers and processes come and go."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Text, update
from sqlalchemy.sql.dml import UpdateBase

from counteract import Recorded
from counteract.errors import ConfigurationError, CounteractError
from counteract.projections import Increment, Projection, reached
from counteract.projections.rebuild import drop, rebuild
from counteract.projections.sinks import OpenSearchIndex, Positioned, RedisHashes, Shown, Sink, SinkUnavailable
from counteract.projections.sinks.sink import RowRefused
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.connect import Connection, connect
from counteract.subscriptions.parked import discard, parked_streams, redrive
from tests.integration.projections.command import projections
from tests.integration.projections.scores import (
    Idle,
    Left,
    Scored,
    Troubling,
    after,
    play,
    player,
    points,
    running,
    scores,
)
from tests.integration.projections.sink_places import (
    KINDS,
    PATIENCE,
    InOpenSearch,
    InRedis,
    Place,
    eventually,
    opened,
    place_of,
    soon,
)

pytestmark = [pytest.mark.integration, pytest.mark.readside]


@pytest.fixture(scope="module", params=KINDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place_of(request.param) as place:
        yield place


async def test_rows_of_events_that_the_log_lost_are_not_gone_on_with(
    app_url: str, database_url: str, redis: InRedis, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    projection = scores(name, redis.sink(name))
    async with PostgresEventStore.open(app_url) as store:
        last = await play(store, 2)
        async with running(app_url, projection):
            await reached(store, name, last, timeout=PATIENCE)
        async with await connect(database_url) as connection:
            await connection.execute("alter table events disable trigger user")
            await connection.execute("delete from events where position > 4")
            await connection.execute("select setval('events_position_seq', 4)")
            await connection.execute("update subscriptions set position = 4")
            await connection.execute("alter table events enable always trigger events_append_only")
        await play(store, 2, team="others")
        async with running(app_url, projection):
            await eventually(lambda: f"projections drop {name}" in caplog.text)
        assert await points(redis, projection) == {"0": 2, "1": 2, "2": 2, "3": 2, "all": 8}
        await drop(app_url, projection)
        async with running(app_url, projection):
            await reached(store, name, await store.high_water_mark(), timeout=PATIENCE)
        assert await points(redis, projection) == {"0": 3, "1": 3, "2": 3, "3": 3, "all": 4, "others": 8}


async def test_rows_follow_from_events(place: Place, name: str, event_store: PostgresEventStore, app_url: str) -> None:
    projection = scores(name, place.sink(name))
    async with running(app_url, projection, batch_size=3):
        await play(event_store, 5)
        last = await event_store.append(player("3"), [Left()], expect=ANY)
        await reached(event_store, name, last.position, timeout=PATIENCE)
        assert await points(place, projection) == {"0": 5, "1": 5, "2": 5, "all": 20}


async def test_a_process_that_ends_anywhere_is_followed_by_one_that_counts_each_event_once(
    place: Place, name: str, event_store: PostgresEventStore, app_url: str
) -> None:
    class Breaking:
        """Written, and then the process is gone before its checkpoint is committed."""

        def __init__(self, sink: Sink) -> None:
            self.prepare, self.write_late, self.watch = sink.prepare, sink.write_late, sink.watch
            self.erase, self.close = sink.erase, sink.close
            self._sink = sink
            self.failures = 3

        async def write(self, operations: Sequence[Positioned], *, up_to: Shown) -> None:
            await self._sink.write(operations, up_to=up_to)
            if self.failures:
                self.failures -= 1
                raise ConnectionError("gone")

    last = await play(event_store, 5)
    sink = Breaking(place.sink(name))
    projection = scores(name, sink)
    async with running(app_url, projection, batch_size=3):
        await reached(event_store, name, last, timeout=PATIENCE)
        assert await points(place, projection) == after(5)
    assert sink.failures == 0


async def test_a_server_that_is_down_is_waited_for_without_holding_up_others(
    name: str, event_store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with InRedis.open() as place:
        projection, other = scores(name, place.sink(name)), scores(f"{name}-in-postgres", None)
        async with running(app_url, projection, other):
            await reached(event_store, name, await play(event_store, 1), timeout=PATIENCE)
            place.kill()
            last = await play(event_store, 3)
            await reached(event_store, other.name, last, timeout=PATIENCE)
            await asyncio.sleep(0.5)
            await place.start()
            await reached(event_store, name, last, timeout=PATIENCE)
            assert await points(place, projection) == after(4)
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len([each for each in said if each.startswith(f"subscription '{name}' waits: Redis: ")]) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_comes_back_empty_is_filled_anew(
    kind: str, name: str, event_store: PostgresEventStore, app_url: str
) -> None:
    async with place_of(kind) as place:
        projection = scores(name, place.sink(name))
        async with running(app_url, projection):
            await reached(event_store, name, await play(event_store, 3), timeout=PATIENCE)
            place.kill()
            await place.start()
            # Noticed without an event, with one, and at the start of a process.
            await soon(partial(points, place, projection), after(3))
            place.kill()
            await place.start()
            await reached(event_store, name, await play(event_store, 1), timeout=PATIENCE)
            await soon(partial(points, place, projection), after(4))
        place.kill()
        await place.start()
        async with running(app_url, projection):
            await soon(partial(points, place, projection), after(4))


async def test_redis_goes_on_from_an_older_copy_of_itself(
    name: str, event_store: PostgresEventStore, app_url: str
) -> None:
    async with InRedis.open() as place:
        projection = scores(name, place.sink(name))
        async with running(app_url, projection):
            await reached(event_store, name, await play(event_store, 3), timeout=PATIENCE)
            place.kill()
            place.server.keep_copy()
            await place.start()
            await reached(event_store, name, await play(event_store, 2), timeout=PATIENCE)
            place.kill()
            place.server.restore_copy()
            await place.start()
            await reached(event_store, name, await play(event_store, 1), timeout=PATIENCE)
            assert await points(place, projection) == after(6)


async def test_one_that_starts_again_has_nothing_to_do_again(
    redis: InRedis, name: str, event_store: PostgresEventStore, app_url: str
) -> None:
    class Counting(RedisHashes):
        batches = 0

        async def write(self, operations: Sequence[Positioned], *, up_to: Shown) -> None:
            self.batches += 1
            await super().write(operations, up_to=up_to)

    sink = Counting(redis.url, prefix=f"{name}:")
    projection = scores(name, sink)
    async with running(app_url, projection):
        await play(event_store, 2)
        # Of an event without operations, too, it is known that it is shown.
        last = await event_store.append(player("0"), [Idle()], expect=ANY)
        await reached(event_store, name, last.position, timeout=PATIENCE)
    before = sink.batches
    async with running(app_url, projection):
        await asyncio.sleep(0.5)
    assert sink.batches == before


async def test_an_event_that_cannot_be_handled_is_parked_and_later_counts_once(
    redis: InRedis, name: str, event_store: PostgresEventStore, app_url: str
) -> None:
    troubles = {"all"}
    projection = scores(name, redis.sink(name), troubles)
    await play(event_store, 1)
    await event_store.append(player("0"), [Troubling(team="all"), Scored(points=1)], expect=ANY)
    last = await play(event_store, 1)
    async with running(app_url, projection):
        await reached(event_store, name, last, timeout=PATIENCE)
        assert await points(redis, projection) == {"0": 1, "1": 2, "2": 2, "3": 2, "all": 7}
        troubles.clear()
        await redriven(app_url, name)
        assert await points(redis, projection) == {"0": 3, "1": 2, "2": 2, "3": 2, "all": 1009}


async def number_parked(connection: Connection) -> int:
    return len(await parked_streams(connection))


async def redriven(url: str, name: str) -> None:
    async with await connect(url) as connection:
        await redrive(connection, name)
        await soon(partial(number_parked, connection), 0)


async def test_a_late_event_whose_place_in_a_row_is_not_known_stays_parked(name: str) -> None:
    projection = scores(name, None)
    async with place_of("opensearch") as place, opened(place.sink(name)) as sink:
        await sink.prepare(projection.layout, "code")
        await sink.write([Positioned(5, Increment("all", "points"))], up_to=Shown(5))
        with pytest.raises(RowRefused, match="later"):
            await sink.write_late([Positioned(3, Increment("all", "points"))])
        for _ in range(2):
            await sink.write_late([Positioned(3, Increment("own", "points"))])
        assert await points(place, projection) == {"all": 1, "own": 1}


class Faltering(OpenSearchIndex):
    """Away when the third late event comes."""

    late = 0

    async def write_late(self, operations: Sequence[Positioned]) -> None:
        self.late += 1
        if self.late == 3:
            raise SinkUnavailable("away")
        await super().write_late(operations)


async def test_a_redrive_that_breaks_off_goes_on_behind_what_is_shown(
    name: str, event_store: PostgresEventStore, app_url: str
) -> None:
    troubles = {"all"}
    parked = await event_store.append(player("0"), [Troubling(team="all")] * 4, expect=ANY)
    async with InOpenSearch.open() as place:
        projection = scores(name, Faltering(place.url, name=name, refresh="wait_for"), troubles)
        async with running(app_url, projection):
            await reached(event_store, name, parked.position, timeout=PATIENCE)
            troubles.clear()
            await redriven(app_url, name)
            assert await points(place, projection) == {"all": 4000}


def test_statements_shards_and_inline_are_refused(name: str) -> None:
    sink = RedisHashes("redis://nowhere", prefix=f"{name}:")
    projection = Projection(name, Column("who", Text, primary_key=True), Column("points", Text), sink=sink)

    @projection.on(Left)
    def left(recorded: Recorded[Left]) -> UpdateBase:
        return update(projection.table).values(points="0")

    recorded = Recorded.of(Left(), player("0"))
    with pytest.raises(ConfigurationError, match="a statement changes tables of PostgreSQL, and its rows are in Redis"):
        projection.operations(recorded)
    for inline, shards in ((True, 1), (False, 2)):
        with pytest.raises(ConfigurationError, match="neither inline nor in several shards"):
            Projection(name, Column("who", Text, primary_key=True), sink=sink, inline=inline, shards=shards)


async def test_what_was_to_be_parked_is_not_passed_over_when_a_process_ends_before_it_is(
    redis: InRedis, name: str, event_store: PostgresEventStore, app_url: str
) -> None:
    class Breaking(RedisHashes):
        async def write(self, operations: Sequence[Positioned], *, up_to: Shown) -> None:
            await super().write(operations, up_to=up_to)
            written.set()
            raise ConnectionError("gone")

    written = asyncio.Event()
    sound, breaking = redis.sink(name), Breaking(redis.url, prefix=f"{name}:")
    first = await event_store.append(player("0"), [Troubling(team="all")], expect=ANY)
    async with running(app_url, scores(name, sound)), await connect(app_url) as connection:
        await connection.execute(
            "insert into parked_events (subscription, position, aggregate_type, aggregate_id, error)"
            " values (%s, %s, 'player', '0', 'it fails')",
            (name, first.position),
        )
        await reached(event_store, name, first.position, timeout=PATIENCE)
    await play(event_store, 1)
    last = await event_store.append(player("1"), [Scored(points=1)], expect=ANY)
    async with running(app_url, scores(name, breaking)):
        await asyncio.wait_for(written.wait(), PATIENCE)
    async with await connect(app_url) as connection:
        await discard(connection, name, first.position, why="a test")
    projection = scores(name, sound)
    async with running(app_url, projection):
        await reached(event_store, name, last.position, timeout=PATIENCE)
    # The event behind the discarded one had been parked: the last process tries it as it takes the shard up.
    assert await points(redis, projection) == {"0": 1, "1": 2, "2": 1, "3": 1, "all": 5}
    async with await connect(app_url) as connection:
        assert await parked_streams(connection) == []


async def test_a_rebuild_is_refused_and_says_what_to_do_instead(redis: InRedis, name: str, app_url: str) -> None:
    with pytest.raises(ConfigurationError, match="a second name and place") as refused:
        await rebuild(app_url, scores(name, redis.sink(name)))
    assert f"counteract projections drop {name}" in str(refused.value)


async def test_it_is_dropped_with_its_rows_once_no_process_has_it(
    place: Place, name: str, event_store: PostgresEventStore, app_url: str
) -> None:
    projection = scores(name, place.sink(name))
    async with running(app_url, projection):
        await reached(event_store, name, await play(event_store, 2), timeout=PATIENCE)
        with pytest.raises(CounteractError, match="a process runs"):
            await drop(app_url, projection)
    await drop(app_url, projection)
    assert not await place.is_there(name)
    async with running(app_url, projection):
        await soon(partial(points, place, projection), after(2))


MODULE = """
from counteract.projections.sinks import RedisHashes
from tests.integration.projections.scores import scores

read_model = scores({name!r}, RedisHashes({url!r}, prefix={prefix!r}))
"""


async def test_the_commands_work_with_it(
    redis: InRedis, name: str, event_store: PostgresEventStore, app_url: str, tmp_path: Path
) -> None:
    module = MODULE.format(name=name, url=redis.url, prefix=f"{name}:")
    (tmp_path / "read_models.py").write_text(module)
    (tmp_path / "pyproject.toml").write_text('[tool.counteract]\nprojections = ["read_models"]\n')

    async def command(*arguments: str) -> str:
        done = await projections(*arguments, url=app_url, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    async def standing() -> dict[str, Any]:
        (line,) = (await command("list")).splitlines()
        return {key: json.loads(line)[key] for key in ("name", "status", "behind")}

    projection = scores(name, redis.sink(name))
    async with running(app_url, projection):
        await reached(event_store, name, await play(event_store, 1), timeout=PATIENCE)
        assert await standing() == {"name": name, "status": "running", "behind": 0}
    await command("drop", name)
    assert await points(redis, projection) == {}

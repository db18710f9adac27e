"""A sink that has lost its rows is not filled anew without the events that were archived meanwhile, unless somebody says so."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from counteract.projections import reached
from counteract.projections.rebuild import drop
from counteract.store import ANY, PostgresEventStore
from counteract.store.archive.streams import Named, archive_streams, restore_streams
from tests.counters import Counted
from tests.integration.projections.scores import Scored, after, play, player, points, running, scores
from tests.integration.projections.sink_places import KINDS, PATIENCE, InRedis, eventually, place_of, soon

pytestmark = [pytest.mark.integration, pytest.mark.readside]


@pytest.mark.parametrize("kind", KINDS)
async def test_rows_that_are_lost_are_not_made_anew_without_what_was_archived(
    kind: str,
    name: str,
    event_store: PostgresEventStore,
    app_url: str,
    database_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "old.jsonl.gz"
    async with place_of(kind) as place:
        projection = scores(name, place.sink(name))
        async with running(app_url, projection):
            await reached(event_store, name, await play(event_store, 3), timeout=PATIENCE)
            await archive_streams(database_url, Named([player("0")]), file)
            place.kill()
            await place.start()
            await eventually(
                lambda: (
                    "lost what came after position 0, and streams with events up to position 12 were archived (1)"
                    in caplog.text
                )
            )
            assert "`counteract store restore old.jsonl.gz`" in caplog.text
            await event_store.append(player("1"), [Scored(points=1)], expect=ANY)
            await asyncio.sleep(0.5)
            assert await points(place, projection) == {}
            await restore_streams(database_url, file)
            await soon(partial(points, place, projection), after(3) | {"1": 4, "all": 13})


async def test_it_is_filled_without_what_was_archived_once_it_was_dropped(
    redis: InRedis, name: str, event_store: PostgresEventStore, app_url: str, database_url: str, tmp_path: Path
) -> None:
    projection = scores(name, redis.sink(name))
    async with running(app_url, projection):
        await reached(event_store, name, await play(event_store, 3), timeout=PATIENCE)
    await archive_streams(database_url, Named([player("0")]), tmp_path / "old.jsonl.gz")
    await drop(app_url, projection)
    async with running(app_url, projection):
        await soon(partial(points, redis, projection), after(3) | {"0": 1, "all": 10})


async def test_a_sink_without_rows_is_told_of_where_all_that_it_had_may_be_archived(
    redis: InRedis,
    name: str,
    event_store: PostgresEventStore,
    app_url: str,
    database_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = redis.sink(name)
    projection = scores(name, sink)
    last = await event_store.append(player("0"), [Scored(points=1), Counted()], expect=ANY)
    async with running(app_url, projection):
        await reached(event_store, name, last.position, timeout=PATIENCE)
    await archive_streams(database_url, Named([player("0")]), tmp_path / "old.jsonl.gz")
    async with running(app_url, projection):
        await event_store.append(player("0"), [Counted()], expect=ANY)
        await reached(event_store, name, last.position + 1, timeout=PATIENCE)
    assert "archived" not in caplog.text
    await sink.erase()
    async with running(app_url, projection):
        await eventually(lambda: "shows no event, and streams with events" in caplog.text)

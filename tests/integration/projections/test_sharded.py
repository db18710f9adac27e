"""A projection of several shards, run and rebuilt by several processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Text, select
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Recorded
from counteract.errors import ConfigurationError
from counteract.projections import Increment, Projection, ProjectionRunner, reached
from counteract.projections.rebuild import Progress, rebuild, take_part
from counteract.store import ANY, PostgresEventStore, StreamChange
from counteract.subscriptions.parked import parked_streams
from tests.counters import Counted, CounterReset, counter
from tests.integration.projections.command import projections
from tests.integration.projections.rebuilds import Stopped, running
from tests.integration.projections.sharded_totals import sharded

pytestmark = [pytest.mark.integration, pytest.mark.long]

PATIENCE = 30.0
STREAMS = 40
MODULE = """
from tests.integration.projections.sharded_totals import sharded

totals = sharded(seconds=0.001)
"""


async def write(store: PostgresEventStore, events: int) -> int:
    """As many of each stream, in turn."""
    position = 0
    for _ in range(events):
        changes = [StreamChange(counter(str(each)), 0, 2**31 - 1, [Counted()]) for each in range(STREAMS)]
        position = max(each.position for each in await store.append_many(changes))
    return position


async def rows(engine: AsyncEngine) -> dict[str, tuple[int, int]]:
    table = sharded().table
    async with engine.connect() as connection:
        return {row.counter: (row.total, row.latest) for row in await connection.execute(select(table))}


def all_rows(events: int) -> dict[str, tuple[int, int]]:
    return {str(each): (events, events) for each in range(STREAMS)}


async def owners(store: PostgresEventStore) -> set[object]:
    async with store.connection() as connection:
        found = await connection.execute("select owner from subscriptions where name = 'totals' and owner is not null")
        return {owner for (owner,) in await found.fetchall()}


async def test_processes_share_its_work_and_each_row_is_what_its_stream_says(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    async with running(app_url, sharded()), running(app_url, sharded()):
        await reached(store, "totals", await write(store, 10), timeout=PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while len(await owners(store)) < 2:  # noqa: ASYNC110 - in the database
                await asyncio.sleep(0.02)
        await reached(store, "totals", await write(store, 20), timeout=PATIENCE)
    assert await rows(engine) == all_rows(30)


async def test_what_would_change_the_row_of_another_shard_is_parked_and_says_why(
    store: PostgresEventStore, app_url: str
) -> None:
    projection = Projection(
        "totals", Column("counter", Text, primary_key=True), Column("total", BigInteger, default=0), shards=2
    )

    @projection.on(Counted)
    def counted(_: Recorded[Counted]) -> Increment:
        return Increment("all", "total")

    projection.ignores(CounterReset)
    task = asyncio.create_task(ProjectionRunner(app_url, [projection]).run())
    last = (await store.append(counter("1"), [Counted()], expect=ANY)).position
    await reached(store, "totals", last, timeout=PATIENCE)
    task.cancel()
    async with store.connection() as connection:
        (parked,) = await parked_streams(connection)
    assert "is of a row that may be another shard's: with 2 it must be '1'" in (parked.error or "")


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
async def test_a_rebuild_goes_on_with_another_number_of_processes(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, before: int, after: int
) -> None:
    await write(store, 40)

    def stop_midway(progress: Progress) -> None:
        if progress.position >= 50:
            raise Stopped

    with pytest.raises(Stopped):
        await rebuild(app_url, sharded(), shards=before, batch_size=2, progress=stop_midway)
    began_again: list[Progress] = []
    await rebuild(app_url, sharded(), shards=after, batch_size=20, progress=began_again.append)
    assert began_again[0].position >= 50
    assert await rows(engine) == all_rows(40)


async def test_what_a_helper_has_not_done_the_others_do(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    await write(store, 60)

    @asynccontextmanager
    async def one_that_gives_up() -> AsyncIterator[None]:
        helper = asyncio.create_task(take_part(app_url, sharded(), 2, batch_size=5))
        giving_up = asyncio.get_running_loop().call_later(0.5, helper.cancel)
        yield
        giving_up.cancel()
        helper.cancel()
        await asyncio.wait([helper])

    await rebuild(app_url, sharded(), shards=2, helpers=one_that_gives_up(), batch_size=5)
    assert await rows(engine) == all_rows(60)


async def test_more_processes_than_shards_are_refused(app_url: str) -> None:
    with pytest.raises(ConfigurationError, match="3 processes cannot share it: it has shards=2"):
        await rebuild(app_url, sharded(), shards=3)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "read_models.py").write_text(MODULE)
    (tmp_path / "pyproject.toml").write_text('[tool.counteract]\nprojections = ["read_models"]\n')
    return tmp_path


async def test_the_command_starts_the_other_processes_and_ends_them(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, project: Path
) -> None:
    await write(store, 200)
    most = 0
    rebuilding = asyncio.create_task(projections("rebuild", "totals", "--processes", "2", url=app_url, folder=project))
    while not rebuilding.done():
        most = max(most, len(await processes(store)))
        await asyncio.sleep(0.02)
    rebuilt = await rebuilding
    assert (rebuilt.returncode, rebuilt.stdout) == (0, "totals is rebuilt and live\n"), rebuilt.stderr
    assert await rows(engine) == all_rows(200)
    assert most == 2
    assert await processes(store) == set()


async def processes(store: PostgresEventStore) -> set[object]:
    """That have a shard of the rebuild."""
    query = "select owner from subscriptions where name = 'totals@rebuild' and owner is not null"
    async with store.connection() as connection:
        return {owner for (owner,) in await (await connection.execute(query)).fetchall()}
